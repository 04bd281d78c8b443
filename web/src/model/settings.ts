/** How to answer: with one text, or by one of the server's strategies. */
export const WAYS = ['plain', 'single', 'vote', 'auto', 'revise', 'search', 'program'] as const
export type Way = (typeof WAYS)[number]

/** Those that have several thoughts: how many usually, as the server has it, and at most. */
export const THOUGHTS = {
  vote: { usual: 8, most: 64 },
  auto: { usual: 16, most: 64 },
  search: { usual: 3, most: 8 },
  program: { usual: 1, most: 32 },
} satisfies Partial<Record<Way, { usual: number; most: number }>>

export type ManyWay = keyof typeof THOUGHTS
export const hasMany = (way: Way): way is ManyWay => way in THOUGHTS

/** What a person sets once. `null`: leave it to the server, which knows what suits the model. */
export interface Settings {
  model: string
  system: string
  temperature: number | null
  top_p: number | null
  top_k: number | null
  min_p: number | null
  repetition_penalty: number | null
  max_tokens: number | null
  seed: number | null
  /** Most tokens of thinking; `null`: as many as it takes; 0: none. */
  budget: number | null
  way: Way
  /** How many thoughts, where that isn't the usual number. */
  thoughts: Partial<Record<ManyWay, number>>
  /** Seconds after which an answer is wanted; `null`: whenever it is found. */
  deadline: number | null
  /** Whether a thought is ended once its answer no longer changes. */
  settle: boolean
  logprobs: boolean
}

export const DEFAULTS: Settings = {
  model: '',
  system: '',
  temperature: null,
  top_p: null,
  top_k: null,
  min_p: null,
  repetition_penalty: null,
  max_tokens: null,
  seed: null,
  budget: null,
  way: 'plain',
  thoughts: {},
  deadline: null,
  settle: false,
  logprobs: false,
}

interface Range {
  min: number
  max: number
  step: number
}

/** The numbers a person may enter, and their limits. */
export const RANGES = {
  temperature: { min: 0, max: 2, step: 0.05 },
  top_p: { min: 0, max: 1, step: 0.01 },
  top_k: { min: 0, max: 1000, step: 1 },
  min_p: { min: 0, max: 1, step: 0.01 },
  repetition_penalty: { min: 0.5, max: 2, step: 0.01 },
  max_tokens: { min: 1, max: 1_000_000, step: 1 },
  seed: { min: 0, max: Number.MAX_SAFE_INTEGER, step: 1 },
  deadline: { min: 1, max: 86_400, step: 1 },
} satisfies Partial<Record<keyof Settings, Range>>

export type NumberField = keyof typeof RANGES
/** Those that go into a request by their names. */
export type SamplingField = Exclude<NumberField, 'deadline'>
const isSampling = (field: string): field is SamplingField => field !== 'deadline'
export const NUMBER_FIELDS = Object.keys(RANGES) as NumberField[]
export const SAMPLING_FIELDS = NUMBER_FIELDS.filter(isSampling)

/** How many thoughts a way has; `null` for those that have as many as they need. */
export function thoughtsOf(settings: Settings, way: Way = settings.way): number | null {
  return hasMany(way) ? (settings.thoughts[way] ?? THOUGHTS[way].usual) : null
}

/** The settings with another number of thoughts, within what the way allows. */
export function withThoughts(settings: Settings, way: ManyWay, n: number): Pick<Settings, 'thoughts'> {
  const { usual, most } = THOUGHTS[way]
  const { [way]: _, ...others } = settings.thoughts
  const count = Math.min(most, Math.max(1, Math.round(n) || usual))
  return { thoughts: count === usual ? others : { ...others, [way]: count } }
}

/** The stops of the budget's slider, from no thinking to no limit. */
export const BUDGETS: (number | null)[] = [0, 128, 256, 512, 1024, 2048, 4096, 8192, 16384, 32768, null]

export function budgetStop(budget: number | null): number {
  if (budget === null) return BUDGETS.length - 1
  const at = BUDGETS.findIndex((stop) => stop === null || stop >= budget)
  return at < 0 ? BUDGETS.length - 1 : at
}

/** A number within a field's limits; `null` where the text is no number. */
export function parseNumber(field: NumberField, text: string): number | null {
  const { min, max, step } = RANGES[field]
  if (text.trim() === '') return null
  const value = Number(text)
  if (!Number.isFinite(value)) return null
  const clamped = Math.min(max, Math.max(min, value))
  return step === 1 ? Math.round(clamped) : clamped
}

/** Settings from storage, with anything that is not what it should be left at its default. */
export function readSettings(stored: unknown): Settings {
  const settings = { ...DEFAULTS }
  if (!stored || typeof stored !== 'object') return settings
  const from = stored as Record<string, unknown>
  if (typeof from.model === 'string') settings.model = from.model
  if (typeof from.system === 'string') settings.system = from.system
  if (typeof from.logprobs === 'boolean') settings.logprobs = from.logprobs
  for (const field of NUMBER_FIELDS) {
    if (typeof from[field] === 'number') settings[field] = parseNumber(field, String(from[field]))
  }
  if (WAYS.some((way) => way === from.way)) settings.way = from.way as Way
  if (typeof from.settle === 'boolean') settings.settle = from.settle
  if (from.thoughts && typeof from.thoughts === 'object') {
    for (const way of WAYS.filter(hasMany)) {
      const n: unknown = (from.thoughts as Record<string, unknown>)[way]
      if (typeof n === 'number') Object.assign(settings, withThoughts(settings, way, n))
    }
  }
  if (typeof from.budget === 'number') settings.budget = BUDGETS[budgetStop(from.budget)] ?? null
  return settings
}
