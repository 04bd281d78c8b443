import { describe, expect, it } from 'vitest'
import type { Chunk } from '../src/api/types'
import { chatRequest } from '../src/model/request'
import { BUDGETS, budgetStop, DEFAULTS, parseNumber, readSettings } from '../src/model/settings'
import { applyChunk, finish } from '../src/model/stream'
import { add, assistantNode, newConversation, userNode } from '../src/model/tree'
import type { AssistantNode, UserNode } from '../src/model/types'

const conversation = newConversation(0)
const question: UserNode = userNode(conversation, null, { text: 'q', attachments: [] }, 1)
const node = (n = 1): AssistantNode => assistantNode(add(conversation, question), question.id, 'm', n, 2)
const delta = (delta: object, index = 0, more: object = {}): Chunk => ({ choices: [{ index, delta, ...more }] })

const run = (chunks: Chunk[], n = 1) => chunks.reduce((at, chunk, time) => applyChunk(at, chunk, 100 * time), node(n))

describe('applyChunk', () => {
  it('gathers thinking and answer, with their times', () => {
    const { answers } = run([
      delta({ role: 'assistant', content: '' }),
      delta({ reasoning_content: 'a' }),
      delta({ reasoning_content: 'b' }),
      delta({ content: 'c' }),
      delta({ content: 'd' }, 0, { finish_reason: 'stop' }),
    ])
    expect(answers).toEqual([
      expect.objectContaining({
        ...{ reasoning: 'ab', content: 'cd', reasoningTokens: 2, contentTokens: 2, finish: 'stop' },
        ...{ firstAt: 100, answerAt: 300, lastAt: 400 },
      }),
    ])
  })

  it('keeps parallel answers apart and distrusts their numbers', () => {
    const { answers } = run([delta({ content: 'a' }, 1), delta({ content: 'b' }, 0), delta({ content: 'x' }, -1), delta({ content: 'x' }, 1e9)], 2)
    expect(answers.map(({ content }) => content)).toEqual(['b', 'a'])
  })

  it('joins the pieces of tool calls', () => {
    const call = (index: number, name?: string, text?: string) => delta({ tool_calls: [{ index, function: { name, arguments: text } }] })
    const { answers } = run([call(0, 'add', '{"a"'), call(0, undefined, ':1}'), call(1, 'sub', '{}'), call(7, 'x', '')])
    expect(answers[0]!.toolCalls).toEqual([
      { name: 'add', arguments: '{"a":1}' },
      { name: 'sub', arguments: '{}' },
    ])
  })

  it('puts probabilities with the text they belong to', () => {
    const logprobs = (token: string) => ({ logprobs: { content: [{ token, logprob: -1, top_logprobs: [{ token: 'z', logprob: -2 }] }] } })
    const [answer] = run([
      delta({ reasoning_content: 'a' }, 0, logprobs('a')),
      delta({ content: 'b' }, 0, logprobs('b')),
      delta({}, 0, logprobs('c')),
    ]).answers
    expect(answer!.reasoningProbs).toEqual([['a', -1, [['z', -2]]]])
    expect(answer!.contentProbs.map(([token]) => token)).toEqual(['b', 'c'])
  })

  it('knows where probabilities belong that come in chunks of their own', () => {
    const only = (token: string) => delta({}, 0, { logprobs: { content: [{ token, logprob: -1 }] } })
    const [answer] = run([
      only('<think>'),
      delta({ reasoning_content: 'a' }),
      only('a'),
      only('</think>'),
      delta({ content: 'b' }),
      only('b'),
    ]).answers
    expect(answer!.reasoningProbs.map(([token]) => token)).toEqual(['<think>', 'a', '</think>'])
    expect(answer!.contentProbs.map(([token]) => token)).toEqual(['b'])
  })

  it('takes the figures of each of several answers', () => {
    const { answers } = run([
      delta({ content: 'a' }, 1),
      { ...delta({}, 1, { finish_reason: 'stop' }), timings: { predicted_n: 5, predicted_per_second: 3 } },
    ], 2)
    expect(answers[1]).toMatchObject({ contentTokens: 5, timings: { predicted_per_second: 3 } })
    expect(answers[0]!.timings).toBeNull()
  })

  it('takes the counts from the server', () => {
    const usage = { prompt_tokens: 3, completion_tokens: 10, completion_tokens_details: { reasoning_tokens: 7 } }
    const done = run([delta({ content: 'a' }), { choices: [], usage, timings: { predicted_per_second: 5 } }])
    expect(done.answers[0]).toMatchObject({ reasoningTokens: 7, contentTokens: 3 })
    expect(done.timings?.predicted_per_second).toBe(5)
  })

  it('survives chunks that lack everything', () => {
    expect(run([{}, { choices: [{}] }, { choices: [{ delta: { content: null } }] }]).answers[0]!.content).toBe('')
  })
})

describe('finish', () => {
  it('goes on from the majority, unless a person chose', () => {
    const answers = run([delta({ content: '1' }, 0), delta({ content: '2' }, 1), delta({ content: '2' }, 2)], 3)
    expect(finish(answers, 'done').chosen).toBe(1)
    expect(finish({ ...answers, picked: true, chosen: 0 }, 'done').chosen).toBe(0)
  })
})

describe('chatRequest', () => {
  it('leaves out what is not set', () => {
    expect(chatRequest([question], DEFAULTS)).toEqual({
      messages: [{ role: 'user', content: 'q' }],
      stream: true,
      stream_options: { include_usage: true },
    })
  })

  it('sends what is set, and the chosen answer without its thinking', () => {
    const answered = { ...finish(run([delta({ reasoning_content: 't' }), delta({ content: 'x' }), delta({ content: 'y' }, 1)], 2), 'done'), chosen: 1 }
    const settings = { ...DEFAULTS, model: 'm', system: 's', n: 4, budget: 256, logprobs: true, temperature: 0, top_k: 20, seed: 1 }
    expect(chatRequest([question, answered, question], settings)).toMatchObject({
      ...{ model: 'm', n: 4, thinking_budget: 256, logprobs: true, top_logprobs: 5, temperature: 0, top_k: 20, seed: 1 },
      messages: [
        { role: 'system', content: 's' },
        { role: 'user', content: 'q' },
        { role: 'assistant', content: 'y' },
        { role: 'user', content: 'q' },
      ],
    })
  })

  it('turns thinking off rather than cutting it at nothing', () => {
    const request = chatRequest([question], { ...DEFAULTS, budget: 0 })
    expect(request.chat_template_kwargs).toEqual({ enable_thinking: false })
    expect(request).not.toHaveProperty('thinking_budget')
  })
})

describe('settings', () => {
  it('keeps numbers within their limits', () => {
    expect(parseNumber('temperature', '9')).toBe(2)
    expect(parseNumber('top_k', '3.6')).toBe(4)
    expect(parseNumber('seed', '')).toBeNull()
    expect(parseNumber('seed', 'x')).toBeNull()
  })

  it('reads what was stored, whatever that is', () => {
    expect(readSettings('nonsense')).toEqual(DEFAULTS)
    expect(readSettings({ n: 99, budget: 300, model: 5, temperature: 'hot', top_p: 0.5 })).toEqual({ ...DEFAULTS, n: 8, budget: 512, top_p: 0.5 })
  })

  it('has a stop for every budget', () => {
    expect(BUDGETS.map((budget) => budgetStop(budget))).toEqual(BUDGETS.map((_, at) => at))
  })
})
