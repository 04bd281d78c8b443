import type { Cluster, Receipt, ReceiptThought, ReceiptUsage, Step } from '../api/types'
import { split, within } from './text'

/**
 * How an answer is reasoned out: the thoughts a strategy has, their votes, the receipt. A server
 * tells it as events; nothing here changes what it is given.
 */

export interface Thought {
  /** As the server numbers them, from 0. */
  number: number
  /** What it is about, where that is not the question itself. */
  about: string
  /** As it was written, tags included. */
  text: string
  /** Pieces received, which are about tokens; the server's count once it is known. */
  tokens: number
  /** Those of its thinking, once they are known. */
  thinking: number
  steps: Step[]
  answer: string | null
  /** Why it is over; `null` while it goes on. */
  end: string | null
  seconds: number | null
}

export interface Run {
  strategy: string
  /** Thoughts that were asked for, at most; `null` where a strategy has as many as it needs. */
  most: number | null
  thoughts: Thought[]
  /** Thoughts begun; a search keeps only those it goes on from. */
  begun: number
  votes: Cluster[]
  /** Answers in the order in which they came up: each keeps its colour when the ranks change. */
  answers: string[]
  /** How likely the leader is to stay the leader. */
  sure: number | null
  notes: string[]
  /** The thought that the answer is from. */
  chosen: number | null
  receipt: Figures | null
}

/** What is kept of a receipt beside the thoughts. */
export interface Figures {
  answer: string | null
  why: string
  confidence: number | null
  usage: ReceiptUsage
}

/** The server has at most 128 at a time; what a stream says beyond that is not believed. */
const MOST_THOUGHTS = 128
const MOST_NOTES = 50
const MOST_STEPS = 200
/** Ways in which a search goes on from each text it keeps, where nothing else is asked for. */
const WAYS_ON = 3

/** Most characters kept of one thought, and of all of them, once they are over. */
export const KEPT = 20_000
const KEPT_IN_ALL = 600_000

/** Ends of thoughts that come to nothing. */
const GIVEN_UP = new Set(['weak', 'unwanted', 'cancelled'])
export const isGivenUp = (thought: Thought): boolean => thought.end !== null && GIVEN_UP.has(thought.end)

export const newRun = (strategy: string, most: number | null): Run => ({
  strategy,
  most,
  thoughts: [],
  begun: 0,
  votes: [],
  answers: [],
  sure: null,
  notes: [],
  chosen: null,
  receipt: null,
})

/** The answer's place among the colours: that of its cluster; -1 where it has none. */
export function colourOf(run: Run, number: number): number {
  const cluster = run.votes.find(({ thoughts }) => thoughts.includes(number))
  return cluster ? run.answers.indexOf(cluster.answer) : -1
}

/** Votes cast. */
export const votesCast = (run: Run): number => run.votes.reduce((sum, { thoughts }) => sum + thoughts.length, 0)

type Fields = Record<string, unknown>
const isObject = (value: unknown): value is Fields => typeof value === 'object' && value !== null && !Array.isArray(value)
const isNumber = (value: unknown): value is number => typeof value === 'number' && Number.isFinite(value)
const isIndex = (value: unknown): value is number => isNumber(value) && Number.isInteger(value) && value >= 0
const text = (value: unknown): string => (typeof value === 'string' ? value : '')

/** The run after one more event; what is no event changes nothing. */
export function applyEvent(run: Run, event: unknown): Run {
  if (!isObject(event)) return run
  const [kind, fields] = Object.entries(event)[0] ?? []
  if (kind === 'note') {
    return typeof fields === 'string' ? { ...run, notes: [...run.notes, fields].slice(-MOST_NOTES) } : run
  }
  if (!isObject(fields)) return run
  if (kind === 'vote') return voted(run, readClusters(fields.clusters), isNumber(fields.sure) ? fields.sure : null)
  const number = fields.thought
  if (!isIndex(number)) return run
  switch (kind) {
    case 'begun':
      return begun(run, number, text(fields.about))
    case 'text':
      return change(run, number, (old) => ({ ...old, text: old.text + text(fields.text), tokens: old.tokens + 1 }))
    case 'rewound':
      return change(run, number, (old) => {
        const left = text(fields.text)
        // How many tokens were cut off is not told; about as many as of the letters.
        const tokens = Math.round(old.tokens * Math.min(1, left.length / Math.max(1, old.text.length)))
        return { ...old, text: left, tokens }
      })
    case 'step': {
      const step = readStep(fields.step)
      return step ? change(run, number, (old) => ({ ...old, steps: [...old.steps, step].slice(-MOST_STEPS) })) : run
    }
    case 'over':
      return change(run, number, (old) => ({
        ...old,
        answer: typeof fields.answer === 'string' ? fields.answer : null,
        end: text(fields.end) || 'ended',
      }))
    default:
      return run
  }
}

function begun(run: Run, number: number, about: string): Run {
  const thought: Thought = { number, about, text: '', tokens: 0, thinking: 0, steps: [], answer: null, end: null, seconds: null }
  const others = run.thoughts.filter((other) => other.number !== number)
  // They begin in any order, and stand in that of their numbers.
  const thoughts = [...others, thought].sort((a, b) => a.number - b.number)
  // A search begins new texts without a word about those that it goes on from or drops.
  const room = run.strategy === 'search' ? (run.most ?? 3) * WAYS_ON : MOST_THOUGHTS
  return { ...run, thoughts: thoughts.slice(-Math.min(room, MOST_THOUGHTS)), begun: run.begun + 1 }
}

function change(run: Run, number: number, how: (thought: Thought) => Thought): Run {
  const at = run.thoughts.findIndex((thought) => thought.number === number)
  if (at < 0) return run
  const thoughts = run.thoughts.slice()
  thoughts[at] = how(thoughts[at]!)
  return { ...run, thoughts }
}

function voted(run: Run, votes: Cluster[], sure: number | null): Run {
  const fresh = votes.map(({ answer }) => answer).filter((answer) => !run.answers.includes(answer))
  return { ...run, votes, sure, answers: [...run.answers, ...fresh] }
}

function readStep(value: unknown): Step | null {
  if (!isObject(value)) return null
  return { at: isNumber(value.at) ? value.at : 0, measure: text(value.measure), note: text(value.note) }
}

export function readClusters(value: unknown): Cluster[] {
  if (!Array.isArray(value)) return []
  return value.slice(0, MOST_THOUGHTS).filter(isObject).map((cluster) => ({
    answer: text(cluster.answer),
    weight: isNumber(cluster.weight) ? Math.max(0, cluster.weight) : 0,
    thoughts: Array.isArray(cluster.thoughts) ? cluster.thoughts.filter(isIndex) : [],
  }))
}

const USAGE = [
  ...(['prompt_tokens', 'reasoning_tokens', 'answer_tokens', 'discarded_tokens', 'drawn_tokens'] as const),
  ...(['thoughts', 'forward_passes', 'flops', 'seconds'] as const),
]

export function readFigures(value: unknown): Figures | null {
  if (!isObject(value)) return null
  const from = isObject(value.usage) ? value.usage : {}
  const usage: ReceiptUsage = {}
  for (const name of USAGE) if (isNumber(from[name])) usage[name] = from[name]
  return {
    answer: typeof value.answer === 'string' ? value.answer : null,
    why: text(value.why),
    confidence: isNumber(value.confidence) ? value.confidence : null,
    usage,
  }
}

/** A thought from a receipt, or from a file. */
export function readThought(value: unknown): Thought | null {
  if (!isObject(value) || !isIndex(value.number)) return null
  return {
    number: value.number,
    about: text(value.about),
    text: text(value.text),
    tokens: isNumber(value.tokens) ? value.tokens : 0,
    thinking: isNumber(value.thinking) ? value.thinking : 0,
    steps: Array.isArray(value.steps) ? value.steps.slice(-MOST_STEPS).flatMap((step) => readStep(step) ?? []) : [],
    answer: typeof value.answer === 'string' ? value.answer : null,
    end: text(value.end) || null,
    seconds: isNumber(value.seconds) ? value.seconds : null,
  }
}

/** The run once its receipt is there, which knows better than the events did. */
export function applyReceipt(run: Run, receipt: Receipt): Run {
  const from: Fields = isObject(receipt) ? { ...receipt } : {}
  const about = new Map(run.thoughts.map((thought) => [thought.number, thought.about]))
  const listed = Array.isArray(receipt.thoughts) ? receipt.thoughts.slice(0, MOST_THOUGHTS) : []
  const thoughts = listed.flatMap((each) => {
    const thought = isObject(each) ? readThought({ ...each, ...counted(each), text: written(each) }) : null
    return thought ? { ...thought, about: about.get(thought.number) ?? '', end: thought.end ?? 'ended' } : []
  })
  const next = voted(run, readClusters(from.vote), run.sure)
  return {
    ...next,
    strategy: text(from.strategy) || run.strategy,
    thoughts: thoughts.length ? thoughts.sort((a, b) => a.number - b.number) : run.thoughts,
    chosen: isIndex(from.chosen) ? from.chosen : null,
    receipt: readFigures(from),
  }
}

const counted = ({ tokens }: ReceiptThought): { tokens: number; thinking: number } => ({
  tokens: (tokens?.thinking ?? 0) + (tokens?.answer ?? 0),
  thinking: tokens?.thinking ?? 0,
})

/** A receipt's thought as one text; each part is shortened for itself, so that the tags stay. */
function written({ reasoning, content }: ReceiptThought): string {
  const said = within(text(content), KEPT)
  const thinking = within(text(reasoning), Math.max(KEPT / 2, KEPT - said.length))
  return thinking ? `<think>\n${thinking}\n</think>\n\n${said}` : said
}

/** The run when nothing more will come: nothing goes on any more, and its size has a limit. */
export function closeRun(run: Run): Run {
  const room = Math.min(KEPT, Math.max(2_000, Math.floor(KEPT_IN_ALL / Math.max(1, run.thoughts.length))))
  const thoughts = run.thoughts.map((thought) => ({
    ...thought,
    text: within(thought.text, room),
    end: thought.end ?? 'cancelled',
  }))
  // Without a receipt it is the leader that counts, or whichever came to an answer.
  const leader = run.votes[0]?.thoughts[0] ?? thoughts.find(({ answer }) => answer !== null)?.number ?? null
  return { ...run, thoughts, chosen: run.chosen ?? (run.receipt ? null : leader) }
}

/** What a thought says, and what it thought before. */
export const said = (thought: Thought): { reasoning: string; content: string } => split(thought.text)
