import { describe, expect, it } from 'vitest'
import type { Chunk } from '../src/api/types'
import { chatRequest } from '../src/model/request'
import { newRun, type Run } from '../src/model/run'
import { BUDGETS, budgetStop, DEFAULTS, parseNumber, readSettings, thoughtsOf, WAYS, withThoughts } from '../src/model/settings'
import { applyChunk, finish, pickThought } from '../src/model/stream'
import { add, assistantNode, newConversation, userNode } from '../src/model/tree'
import type { AssistantNode, UserNode } from '../src/model/types'

const conversation = newConversation(0)
const question: UserNode = userNode(conversation, null, { text: 'q', attachments: [] }, 1)
const node = (run: Run | null = null): AssistantNode => assistantNode(add(conversation, question), question.id, 'm', run, 2)
const delta = (delta: object, index = 0, more: object = {}): Chunk => ({ choices: [{ index, delta, ...more }] })

const run = (chunks: Chunk[], from: Run | null = null) => chunks.reduce((at, chunk, time) => applyChunk(at, chunk, 100 * time), node(from))

describe('applyChunk', () => {
  it('gathers thinking and answer, with their times', () => {
    const { answer } = run([
      delta({ role: 'assistant', content: '' }),
      delta({ reasoning_content: 'a' }),
      delta({ reasoning_content: 'b' }),
      delta({ content: 'c' }),
      delta({ content: 'd' }, 0, { finish_reason: 'stop' }),
    ])
    expect(answer).toMatchObject({
      ...{ reasoning: 'ab', content: 'cd', reasoningTokens: 2, contentTokens: 2, finish: 'stop' },
      ...{ firstAt: 100, answerAt: 300, lastAt: 400 },
    })
  })

  it('takes one answer, whoever sends more', () => {
    const { answer } = run([delta({ content: 'a' }, 1), delta({ content: 'b' }, 0), delta({ content: 'x' }, -1), delta({ content: 'x' }, 1e9)])
    expect(answer.content).toBe('b')
  })

  it('joins the pieces of tool calls', () => {
    const call = (index: number, name?: string, text?: string) => delta({ tool_calls: [{ index, function: { name, arguments: text } }] })
    const { answer } = run([call(0, 'add', '{"a"'), call(0, undefined, ':1}'), call(1, 'sub', '{}'), call(7, 'x', '')])
    expect(answer.toolCalls).toEqual([
      { name: 'add', arguments: '{"a":1}' },
      { name: 'sub', arguments: '{}' },
    ])
  })

  it('puts probabilities with the text they belong to', () => {
    const logprobs = (token: string) => ({ logprobs: { content: [{ token, logprob: -1, top_logprobs: [{ token: 'z', logprob: -2 }] }] } })
    const { answer } = run([
      delta({ reasoning_content: 'a' }, 0, logprobs('a')),
      delta({ content: 'b' }, 0, logprobs('b')),
      delta({}, 0, logprobs('c')),
    ])
    expect(answer.reasoningProbs).toEqual([['a', -1, [['z', -2]]]])
    expect(answer.contentProbs.map(([token]) => token)).toEqual(['b', 'c'])
  })

  it('knows where probabilities belong that come in chunks of their own', () => {
    const only = (token: string) => delta({}, 0, { logprobs: { content: [{ token, logprob: -1 }] } })
    const { answer } = run([
      only('<think>'),
      delta({ reasoning_content: 'a' }),
      only('a'),
      only('</think>'),
      delta({ content: 'b' }),
      only('b'),
    ])
    expect(answer.reasoningProbs.map(([token]) => token)).toEqual(['<think>', 'a', '</think>'])
    expect(answer.contentProbs.map(([token]) => token)).toEqual(['b'])
  })

  it('takes the counts from the server', () => {
    const usage = { prompt_tokens: 3, completion_tokens: 10, completion_tokens_details: { reasoning_tokens: 7 } }
    const done = run([delta({ content: 'a' }), { choices: [], usage, timings: { predicted_per_second: 5 } }])
    expect(done.answer).toMatchObject({ reasoningTokens: 7, contentTokens: 3 })
    expect(done.timings?.predicted_per_second).toBe(5)
  })

  it('survives chunks that lack everything', () => {
    expect(run([{}, { choices: [{}] }, { choices: [{ delta: { content: null } }] }]).answer.content).toBe('')
  })
})

describe('a reasoned answer', () => {
  const event = (event: object) => delta({ reasoning_details: { event } })
  const over = (thought: number, answer: string | null, end = 'ended') => event({ over: { thought, answer, end } })
  const begun = [0, 1].map((thought) => event({ begun: { thought, about: '' } }))
  const texts = [event({ text: { thought: 0, text: '<think>a</think>no' } }), event({ text: { thought: 1, text: '<think>b</think>yes' } })]
  const vote = event({ vote: { clusters: [{ answer: 'yes', weight: 1, thoughts: [1] }], sure: 0.5 } })
  const thought = (number: number, content: string) => ({
    ...{ number, reasoning: 'hm', content, answer: content, end: 'ended', seconds: 2 },
    tokens: { thinking: 8, answer: 3, discarded: 1 },
  })
  const receipt = {
    ...{ strategy: 'vote', chosen: 1, why: '1 of 2 votes', usage: { drawn_tokens: 24, seconds: 3 } },
    ...{ vote: [{ answer: 'yes', weight: 1, thoughts: [1] }], thoughts: [thought(0, 'no'), thought(1, 'yes')] },
  }
  const whole = [
    ...begun,
    ...texts,
    vote,
    delta({ reasoning_content: 'hm' }),
    delta({ content: 'yes' }),
    delta({ reasoning_details: { receipt } }, 0, { finish_reason: 'stop' }),
    { choices: [], usage: { prompt_tokens: 5, completion_tokens: 24, completion_tokens_details: { reasoning_tokens: 16 } } },
  ]

  it('has the counts and the time of the chosen thought', () => {
    const done = finish(run(whole, newRun('vote', 8)), 'done')
    expect(done.answer).toMatchObject({ reasoning: 'hm', content: 'yes', reasoningTokens: 8, contentTokens: 3, finish: 'stop' })
    expect(done.answer.answerAt! - done.answer.firstAt!).toBe(2000)
    expect(done.usage?.completion_tokens).toBe(24)
    expect(done.run).toMatchObject({ strategy: 'vote', chosen: 1, begun: 2 })
  })

  it('shows thoughts of a server that has them unasked', () => {
    expect(run(whole).run?.thoughts).toHaveLength(2)
  })

  it('is the leader’s when it is stopped, and what goes on is over', () => {
    const stopped = finish(run([...begun, ...texts, over(1, 'yes'), vote]), 'stopped')
    expect(stopped.answer).toMatchObject({ reasoning: 'b', content: 'yes', finish: 'stopped' })
    expect(stopped.run?.thoughts.map(({ end }) => end)).toEqual(['cancelled', 'ended'])
    expect(finish(run([...begun, texts[0]!]), 'stopped').answer.content).toBe('')
  })

  it('gives way to another thought', () => {
    const done = finish(run(whole), 'done')
    const other = pickThought(done, 0)
    expect(other.answer).toMatchObject({ reasoning: 'hm', content: 'no', finish: 'stop' })
    expect(other.run?.chosen).toBe(0)
    expect(pickThought(done, 7)).toBe(done)
    expect(pickThought(other, 1).answer).toEqual(done.answer)
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
    const answered = finish(run([delta({ reasoning_content: 't' }), delta({ content: 'y' })]), 'done')
    const settings = { ...DEFAULTS, model: 'm', system: 's', budget: 256, logprobs: true, temperature: 0, top_k: 20, seed: 1 }
    expect(chatRequest([question, answered, question], settings)).toMatchObject({
      ...{ model: 'm', thinking_budget: 256, logprobs: true, top_logprobs: 5, temperature: 0, top_k: 20, seed: 1 },
      messages: [
        { role: 'system', content: 's' },
        { role: 'user', content: 'q' },
        { role: 'assistant', content: 'y' },
        { role: 'user', content: 'q' },
      ],
    })
  })

  it('names a strategy, with what goes with it', () => {
    const settings = { ...DEFAULTS, way: 'vote' as const, thoughts: { vote: 5 }, budget: 512, deadline: 30, settle: true, logprobs: true, seed: 1 }
    const request = chatRequest([question], settings)
    expect(request).toMatchObject({ seed: 1, reasoning: { strategy: 'vote', n: 5, max_tokens: 512, deadline_ms: 30_000, settle: true } })
    // The server has nothing to say to these along with a strategy.
    for (const field of ['n', 'logprobs', 'thinking_budget', 'deadline']) expect(request).not.toHaveProperty(field)
    expect(chatRequest([question], { ...DEFAULTS, way: 'revise' }).reasoning).toEqual({ strategy: 'revise' })
    expect(chatRequest([question], { ...DEFAULTS, way: 'auto', budget: 0 })).toMatchObject({
      ...{ reasoning: { strategy: 'auto', n: 16 }, chat_template_kwargs: { enable_thinking: false } },
    })
    expect(chatRequest([question], { ...DEFAULTS, deadline: 5, settle: true })).not.toHaveProperty('reasoning')
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
    expect(readSettings({ n: 99, budget: 300, model: 5, temperature: 'hot', top_p: 0.5 })).toEqual({ ...DEFAULTS, budget: 512, top_p: 0.5 })
    expect(readSettings({ way: 'guess', thoughts: 5, settle: 1, deadline: 'soon' })).toEqual(DEFAULTS)
    const read = readSettings({ way: 'search', thoughts: { search: 99, vote: 0, auto: 16, plain: 3 }, settle: true, deadline: 0 })
    expect(read).toEqual({ ...DEFAULTS, way: 'search', thoughts: { search: 8 }, settle: true, deadline: 1 })
    expect(readSettings(JSON.parse(JSON.stringify(read)))).toEqual(read)
  })

  it('keeps a number of thoughts for each way that has several', () => {
    const settings = { ...DEFAULTS, ...withThoughts(DEFAULTS, 'vote', 3) }
    expect(WAYS.map((way) => thoughtsOf(settings, way))).toEqual([null, null, 3, 16, null, 3, 1])
    expect(withThoughts(settings, 'vote', 8)).toEqual({ thoughts: {} })
    expect(withThoughts(settings, 'auto', 1000)).toEqual({ thoughts: { vote: 3, auto: 64 } })
    expect(withThoughts(settings, 'vote', NaN)).toEqual({ thoughts: {} })
  })

  it('has a stop for every budget', () => {
    expect(BUDGETS.map((budget) => budgetStop(budget))).toEqual(BUDGETS.map((_, at) => at))
  })
})
