import { describe, expect, it } from 'vitest'
import { applyEvent, applyReceipt, closeRun, colourOf, isGivenUp, KEPT, newRun, type Run, said, votesCast } from '../src/model/run'
import { split, within } from '../src/model/text'

const play = (events: unknown[], run: Run = newRun('vote', 8)) => events.reduce<Run>(applyEvent, run)
const begun = (thought: number, about = '') => ({ begun: { thought, about } })
const text = (thought: number, text: string) => ({ text: { thought, text } })
const over = (thought: number, answer: string | null, end = 'ended') => ({ over: { thought, answer, end } })
const vote = (sure: number, ...clusters: [string, ...number[]][]) => ({
  vote: { clusters: clusters.map(([answer, ...thoughts]) => ({ answer, weight: thoughts.length, thoughts })), sure },
})

describe('applyEvent', () => {
  it('keeps thoughts apart, in the order of their numbers', () => {
    const run = play([begun(1), begun(0, 'draft'), text(1, 'b'), text(0, 'a'), text(1, 'c')])
    expect(run.thoughts.map(({ number, about, text, tokens }) => [number, about, text, tokens])).toEqual([
      [0, 'draft', 'a', 1],
      [1, '', 'bc', 2],
    ])
    expect(run.begun).toBe(2)
  })

  it('takes back what was cut off, and about as many tokens', () => {
    const run = play([begun(0), ...'abcdefgh'.split('').map((letter) => text(0, letter)), { rewound: { thought: 0, text: 'abcd' } }, text(0, 'x')])
    expect(run.thoughts[0]).toMatchObject({ text: 'abcdx', tokens: 5 })
  })

  it('notes steps, ends and remarks', () => {
    const step = { at: 12, measure: 'loop', note: 'three times over' }
    const run = play([begun(0), { step: { thought: 0, step } }, over(0, null, 'weak'), { note: 'more thoughts' }])
    expect(run.thoughts[0]).toMatchObject({ steps: [step], answer: null, end: 'weak' })
    expect(isGivenUp(run.thoughts[0]!)).toBe(true)
    expect(run.notes).toEqual(['more thoughts'])
  })

  it('leaves answers their colours when the ranks change', () => {
    const first = play([vote(0.4, ['18', 0]), vote(0.5, ['18', 0], ['17', 1])])
    expect([0, 1, 2].map((number) => colourOf(first, number))).toEqual([0, 1, -1])
    const then = play([vote(0.8, ['17', 1, 2], ['18', 0])], first)
    expect([0, 1, 2].map((number) => colourOf(then, number))).toEqual([0, 1, 1])
    expect(votesCast(then)).toBe(3)
    expect(then.sure).toBe(0.8)
  })

  it('shows of a search what may be at work', () => {
    const run = play(Array.from({ length: 40 }, (_, number) => begun(number, 'from 0')), newRun('search', 3))
    expect(run.thoughts.map(({ number }) => number)).toEqual([31, 32, 33, 34, 35, 36, 37, 38, 39])
    expect(run.begun).toBe(40)
  })

  it.each([
    null, 'text', 5, [], {}, { begun: 1 }, { begun: { thought: -1 } }, { begun: { thought: 1.5 } }, { text: { thought: 9, text: 'x' } },
    { step: { thought: 0, step: 'x' } }, { other: { thought: 0 } }, { note: 5 },
  ])('is not moved by %j', (event) => {
    const run = play([begun(0)])
    expect(applyEvent(run, event)).toEqual(run)
  })

  it('changes nothing it is given', () => {
    const run = play([begun(0), text(0, 'a')])
    const before = JSON.stringify(run)
    play([text(0, 'b'), begun(1), vote(1, ['a', 0]), over(0, 'a')], run)
    expect(JSON.stringify(run)).toBe(before)
  })
})

describe('applyReceipt', () => {
  const thought = (number: number, answer: string, long = 0) => ({
    ...{ number, answer, end: 'ended', seconds: 1, reasoning: 'x'.repeat(long) || 'hm', content: `so ${answer}` },
    ...{ tokens: { thinking: 5, answer: 2, discarded: 1 }, steps: [{ at: 1, measure: 'wait', note: '' }] },
  })

  it('knows better than the events', () => {
    const before = play([begun(0, 'draft'), text(0, 'half')])
    const run = applyReceipt(before, {
      ...{ strategy: 'vote', answer: '18', chosen: 0, why: 'w', confidence: 0.6, vote: [{ answer: '18', weight: 1, thoughts: [0] }] },
      ...{ usage: { drawn_tokens: 8, flops: 1e9, seconds: 2 }, thoughts: [thought(0, '18')] },
    })
    expect(run.thoughts).toEqual([
      expect.objectContaining({ number: 0, about: 'draft', text: '<think>\nhm\n</think>\n\nso 18', tokens: 7, thinking: 5, end: 'ended' }),
    ])
    expect(run.receipt).toEqual({ answer: '18', why: 'w', confidence: 0.6, usage: { drawn_tokens: 8, flops: 1e9, seconds: 2 } })
    expect(run.chosen).toBe(0)
  })

  it('keeps only so much of a thought, and its tags', () => {
    const run = closeRun(applyReceipt(newRun('vote', 2), { thoughts: [thought(0, '18', 90_000)] }))
    expect(run.thoughts[0]!.text.length).toBeLessThanOrEqual(KEPT + 50)
    expect(said(run.thoughts[0]!).content).toBe('so 18')
  })

  it('stands one that lacks everything, or bends it', () => {
    const run = play([begun(0)])
    expect(applyReceipt(run, {}).thoughts).toHaveLength(1)
    const bent = { thoughts: [null, 5, { number: 'x' }], vote: 'x', usage: { seconds: 'long' }, chosen: 'me' }
    expect(applyReceipt(run, bent as never)).toMatchObject({ chosen: null, votes: [], receipt: { usage: {} } })
  })
})

describe('closeRun', () => {
  it('ends what goes on and goes by the leader', () => {
    const run = closeRun(play([begun(0), begun(1), begun(2), over(1, '7'), vote(0.5, ['7', 1])]))
    expect(run.thoughts.map(({ end }) => end)).toEqual(['cancelled', 'ended', 'cancelled'])
    expect(run.chosen).toBe(1)
  })

  it('goes by an answer where there is no vote, and by none where there is none', () => {
    expect(closeRun(play([begun(0), begun(1), over(1, '7')])).chosen).toBe(1)
    expect(closeRun(play([begun(0)])).chosen).toBeNull()
  })

  it('bounds what many long thoughts take', () => {
    const many = Array.from({ length: 100 }, (_, number) => [begun(number), text(number, 'x'.repeat(50_000))]).flat()
    const run = closeRun(play(many, newRun('vote', 100)))
    expect(JSON.stringify(run).length).toBeLessThan(700_000)
  })
})

describe('split', () => {
  it.each([
    ['<think>a</think>\n\nb', 'a', 'b'],
    ['a</think>b', 'a', 'b'],
    ['\n<think>\na', 'a', ''],
    ['only said ', '', 'only said'],
    ['<th', '', ''],
    ['<then>', '', '<then>'],
    ['', '', ''],
  ])('%j', (text, reasoning, content) => expect(split(text)).toEqual({ reasoning, content }))
})

describe('within', () => {
  it('keeps the beginning and the end', () => {
    const cut = within(`BEGIN${'.'.repeat(1000)}END`, 100)
    expect(cut.length).toBe(100)
    expect(cut).toMatch(/^BEGIN[^]*…[^]*END$/)
    expect(within('short', 100)).toBe('short')
  })

  it('halves no character', () => {
    for (let most = 40; most < 48; most++) expect(() => encodeURIComponent(within('😀'.repeat(100), most))).not.toThrow()
  })
})
