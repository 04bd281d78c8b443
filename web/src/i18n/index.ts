import en, { type Dictionary, type Key } from './en'
import hi from './hi'
import zh from './zh'

export const LANGUAGES = {
  en: { name: 'English', tag: 'en' },
  zh: { name: '中文', tag: 'zh-CN' },
  hi: { name: 'हिन्दी', tag: 'hi' },
} as const

export type Lang = keyof typeof LANGUAGES
export const dictionaries: Record<Lang, Dictionary> = { en, zh, hi }

export const isLang = (value: unknown): value is Lang => typeof value === 'string' && Object.hasOwn(LANGUAGES, value)

/** The first of a person's languages that the page speaks. */
export function pickLanguage(wanted: readonly string[]): Lang {
  for (const tag of wanted) {
    const lang = tag.toLowerCase().split('-')[0]
    if (isLang(lang)) return lang
  }
  return 'en'
}

export interface Translator {
  (key: Key, values?: Record<string, string | number>): string
  lang: Lang
  /** A number as the language writes it. */
  number(value: number, digits?: number): string
  percent(share: number): string
}

const PLACE = /\{(\w+)(?:\|([^|}]*)\|([^|}]*))?\}/g

export function translator(lang: Lang): Translator {
  const { tag } = LANGUAGES[lang]
  const formats = new Map<number, Intl.NumberFormat>()
  const number = (value: number, digits = 0): string => {
    let format = formats.get(digits)
    if (!format) {
      format = new Intl.NumberFormat(tag, { minimumFractionDigits: digits, maximumFractionDigits: digits })
      formats.set(digits, format)
    }
    return format.format(value)
  }
  const plurals = new Intl.PluralRules(tag)
  const percents = new Intl.NumberFormat(tag, { style: 'percent', maximumSignificantDigits: 3 })
  const t = (key: Key, values: Record<string, string | number> = {}): string =>
    dictionaries[lang][key].replace(PLACE, (whole, name: string, one?: string, other?: string) => {
      const value = values[name]
      if (value === undefined) return whole
      if (one !== undefined && other !== undefined) return plurals.select(Number(value)) === 'one' ? one : other
      return typeof value === 'number' ? number(value) : value
    })
  return Object.assign(t, { lang, number, percent: (share: number) => percents.format(share) })
}
