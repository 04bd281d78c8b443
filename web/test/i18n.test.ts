import { describe, expect, it } from 'vitest'
import { dictionaries, type Lang, LANGUAGES, pickLanguage, translator } from '../src/i18n'
import type { Key } from '../src/i18n/en'

const langs = Object.keys(LANGUAGES) as Lang[]
const keys = Object.keys(dictionaries.en) as Key[]
const names = (text: string) => [...text.matchAll(/\{(\w+)\}/g)].map((match) => match[1]).sort()

describe.each(langs)('dictionary %s', (lang) => {
  const dictionary = dictionaries[lang]

  it('has every key and no other', () => {
    expect(Object.keys(dictionary).sort()).toEqual([...keys].sort())
  })

  it('has the same places to fill in', () => {
    for (const key of keys) expect(names(dictionary[key]), key).toEqual(names(dictionaries.en[key]))
  })

  it('leaves nothing empty', () => {
    for (const key of keys) expect(dictionary[key].trim(), key).not.toBe('')
  })
})

it('is translated, technical terms aside', () => {
  const shared = new Set<Key>(['top_p', 'top_k', 'min_p', 'probabilityOf'])
  for (const lang of ['zh', 'hi'] as const) {
    for (const key of keys) {
      if (!shared.has(key)) expect(dictionaries[lang][key], `${lang}.${key}`).not.toBe(dictionaries.en[key])
    }
  }
})

it('picks the first language it speaks', () => {
  expect(pickLanguage(['fr-FR', 'zh-TW', 'en'])).toBe('zh')
  expect(pickLanguage(['hi'])).toBe('hi')
  expect(pickLanguage(['fr'])).toBe('en')
  expect(pickLanguage(['constructor', 'toString'])).toBe('en')
})

it('fills in values', () => {
  expect(translator('en')('saidVote', { answer: 'x', n: 3, total: 1000 })).toBe('x: 3 of 1,000 votes')
  expect(translator('en')('tokens', { n: 1 })).toBe('1 token')
  expect(translator('en')('tokens', { n: 2000 })).toBe('2,000 tokens')
  expect(translator('hi').number(1234567)).toBe('12,34,567')
})
