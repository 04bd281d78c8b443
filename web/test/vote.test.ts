import { describe, expect, it } from 'vitest'
import { emptyAnswer } from '../src/model/tree'
import { finalAnswer, majority, normalize } from '../src/model/vote'

const answers = (...contents: string[]) => contents.map((content) => ({ ...emptyAnswer(), content, finish: 'stop' }))

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

describe('majority', () => {
  it('counts answers that say the same', () => {
    expect(majority(answers('\\boxed{1}', 'x\n**2**', '\\boxed{2}', '2.'))).toEqual({ answer: '**2**', members: [1, 2, 3], total: 4 })
  })
  it('takes the first of equals', () => {
    expect(majority(answers('b', 'a'))).toEqual({ answer: 'b', members: [0], total: 2 })
  })
  it('leaves out what is empty or not finished', () => {
    expect(majority([...answers('', '7'), { ...emptyAnswer(), content: '8' }])).toEqual({ answer: '7', members: [1], total: 1 })
    expect(majority([])).toBeNull()
  })
})
