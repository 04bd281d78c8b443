import { describe, expect, it } from 'vitest'
import { add, assistantNode, children, emptyAnswer, newConversation, path, pathTo, replace, select, siblings, step, userNode } from '../src/model/tree'
import { modern } from '../src/model/legacy'
import { applyEvent, newRun } from '../src/model/run'
import { finish } from '../src/model/stream'
import { exportText, importText } from '../src/model/transfer'
import type { Conversation } from '../src/model/types'

const say = (text: string) => ({ text, attachments: [] })

/** A question with two answers, and another wording of it with one. */
function sample() {
  let conversation = newConversation(1)
  const q1 = userNode(conversation, null, say('q1'), 10)
  conversation = add(conversation, q1)
  const a1 = assistantNode(conversation, q1.id, 'm', null, 11)
  conversation = add(conversation, a1)
  const a2 = assistantNode(conversation, q1.id, 'm', null, 11)
  conversation = add(conversation, a2)
  const q2 = userNode(conversation, null, say('q2'), 10)
  conversation = add(conversation, q2)
  const a3 = assistantNode(conversation, q2.id, 'm', null, 20)
  conversation = add(conversation, a3)
  return { conversation, q1, a1, a2, q2, a3 }
}

const ids = (conversation: Conversation) => path(conversation).map(({ id }) => id)

describe('tree', () => {
  it('shows what was added last', () => {
    const { conversation, q2, a3 } = sample()
    expect(ids(conversation)).toEqual([q2.id, a3.id])
  })

  it('orders siblings by age, even of the same millisecond', () => {
    const { conversation, q1, q2, a1, a2 } = sample()
    expect(children(conversation, null).map(({ id }) => id)).toEqual([q1.id, q2.id])
    expect(siblings(conversation, a2.id)).toEqual({ ids: [a1.id, a2.id], at: 1 })
  })

  it('steps between siblings and remembers the branches below', () => {
    const { conversation, q1, a1, a2, q2, a3 } = sample()
    const back = step(conversation, q2.id, -1)
    expect(ids(back)).toEqual([q1.id, a2.id])
    const first = step(back, a2.id, -1)
    expect(ids(first)).toEqual([q1.id, a1.id])
    expect(ids(step(first, q1.id, 1))).toEqual([q2.id, a3.id])
    expect(ids(step(step(first, q1.id, 1), q2.id, -1))).toEqual([q1.id, a1.id])
  })

  it('stays where there is nowhere to go', () => {
    const { conversation, q2 } = sample()
    expect(step(conversation, q2.id, 1)).toBe(conversation)
    expect(step(conversation, 'nobody', 1)).toBe(conversation)
    expect(select(conversation, 'nobody')).toBe(conversation)
    expect(replace(conversation, { ...q2, id: 'nobody' })).toBe(conversation)
  })

  it('knows the way to a node that is not shown', () => {
    const { conversation, q1, a1 } = sample()
    expect(pathTo(conversation, a1.id).map(({ id }) => id)).toEqual([q1.id, a1.id])
    expect(pathTo(conversation, null)).toEqual([])
  })

  it('changes nothing it is given', () => {
    const { conversation, q1, a2 } = sample()
    const before = JSON.stringify(conversation)
    select(conversation, q1.id)
    replace(conversation, { ...a2, model: 'other' })
    add(conversation, userNode(conversation, a2.id, say('q3'), 30))
    expect(JSON.stringify(conversation)).toBe(before)
  })

  it('comes to an end on a tree that is none', () => {
    const { conversation, q1, a1 } = sample()
    const nodes = { ...conversation.nodes, [q1.id]: { ...q1, parent: a1.id } }
    expect(path({ ...conversation, nodes }).length).toBeLessThan(6)
    expect(pathTo({ ...conversation, nodes }, a1.id)).toHaveLength(2)
  })
})

describe('export and import', () => {
  it('gives back what it got, running answers aside', () => {
    const { conversation } = sample()
    const [back] = importText(exportText([conversation]))
    expect(ids(back!)).toEqual(ids(conversation))
    expect(back!.nodes[ids(conversation)[1]!]).toMatchObject({ status: 'stopped' })
    expect(importText(exportText([back!]))).toEqual([back])
  })

  it('gives back what was reasoned', () => {
    const { conversation, a1 } = sample()
    const events = [
      { begun: { thought: 0, about: 'draft' } },
      { text: { thought: 0, text: '<think>x</think>18' } },
      { step: { thought: 0, step: { at: 3, measure: 'wait', note: 'n' } } },
      { over: { thought: 0, answer: '18', end: 'ended' } },
      { vote: { clusters: [{ answer: '18', weight: 1, thoughts: [0] }], sure: 0.9 } },
      { note: 'more' },
    ]
    const node = finish({ ...a1, run: events.reduce(applyEvent, newRun('vote', 8)) }, 'done')
    const [back] = importText(exportText([replace(conversation, node)]))
    expect(back!.nodes[a1.id]).toEqual(node)
    const bent = { ...node, run: { ...node.run!, thoughts: [{ number: -1 }] } }
    expect(() => importText(exportText([replace(conversation, bent as never)]))).toThrow()
  })

  it('takes several answers of old for thoughts', () => {
    const { conversation, a1 } = sample()
    const { answer: _, run: __, ...rest } = finish(a1, 'done')
    const answers = ['\\boxed{1}', '\\boxed{2}', '\\boxed{2}'].map((content) => ({ ...emptyAnswer(), content, finish: 'stop' }))
    const old = { ...rest, answers, chosen: 2, picked: true, vote: null }
    const nodes = { ...conversation.nodes, [a1.id]: old as never }
    const file = JSON.stringify({ format: 'ponder-conversations', version: 1, conversations: [{ ...conversation, nodes: { [old.parent!]: nodes[old.parent!], [a1.id]: old } }] })
    const [imported] = importText(file)
    for (const node of [imported!.nodes[a1.id], modern({ ...conversation, nodes }).nodes[a1.id]]) {
      expect(node).not.toHaveProperty('answers')
      expect(node).toMatchObject({ answer: { content: '\\boxed{2}' }, run: { chosen: 2, votes: [{ answer: '2', thoughts: [1, 2] }, { answer: '1' }] } })
    }
    expect(modern(conversation)).toBe(conversation)
  })

  it.each([
    ['no JSON', '{'],
    ['another format', '{"format":"x","version":1,"conversations":[]}'],
    ['another version', '{"format":"ponder-conversations","version":3,"conversations":[]}'],
    ['no list', '{"format":"ponder-conversations","version":1,"conversations":{}}'],
    ['no conversation', '{"format":"ponder-conversations","version":1,"conversations":[1]}'],
  ])('refuses %s', (_, text) => expect(() => importText(text)).toThrow())

  it('refuses nodes that are bent', () => {
    const { conversation, q1, a1 } = sample()
    const bend = (node: object) => exportText([{ ...conversation, nodes: { ...conversation.nodes, x: node as never } }])
    expect(() => importText(bend({ ...q1, text: 5 }))).toThrow()
    expect(() => importText(bend({ ...q1, id: '__proto__' }))).toThrow()
    expect(() => importText(bend({ ...q1, id: 'y', parent: 'nobody' }))).toThrow()
    expect(() => importText(bend({ ...q1, role: 'system' }))).toThrow()
    expect(() => importText(bend({ ...a1, answer: {} }))).toThrow()
  })
})
