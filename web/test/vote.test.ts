import { describe, expect, it } from 'vitest'
import { clusters, finalAnswer, normalize } from '../src/model/vote'

describe('finalAnswer', () => {
  it.each([
    ['so \\boxed{36}', '36'],
    ['\\boxed{1} then \\boxed{2}.', '2'],
    ['\\boxed{\\frac{1}{2}}', '\\frac{1}{2}'],
    ['\\boxed {x}', 'x'],
    ['\\boxed{a \\} b}', 'a \\} b'],
    ['\\boxed{1} and \\boxed{not closed', '1'],
    ['text\n\n**42**\n\n', '**42**'],
    ['```\nx\n```\n', 'x'],
    ['', ''],
  ])('%j', (content, expected) => expect(finalAnswer(content)).toBe(expected))
})

describe('normalize', () => {
  it.each([
    ['**42**.', '42'],
    ['$1{,}000$', '1000'],
    ['1,000', '1000'],
    ['\\dfrac{1}{2}', '\\frac{1}{2}'],
    ['\\text{Yes}', 'yes'],
    ['\\left( x \\right)', '(x)'],
    ['４２', '42'],
  ])('%j', (answer, expected) => expect(normalize(answer)).toBe(expected))
})

describe('clusters', () => {
  it('counts answers that say the same', () => {
    expect(clusters(['\\boxed{1}', 'x\n**2**', '\\boxed{2}', '2.'])).toEqual([
      { answer: '**2**', weight: 3, thoughts: [1, 2, 3] },
      { answer: '1', weight: 1, thoughts: [0] },
    ])
  })
  it('puts the first of equals first, and leaves out what is empty', () => {
    expect(clusters(['b', '', 'a']).map(({ answer }) => answer)).toEqual(['b', 'a'])
    expect(clusters([])).toEqual([])
  })
})
