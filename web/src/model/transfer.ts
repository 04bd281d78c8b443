import { fromAnswers } from './legacy'
import { newRun, readClusters, readFigures, readThought, type Run } from './run'
import type { Answer, Attachment, Conversation, Node, TokenProb } from './types'

/** Conversations as a file, and back. A file is not trusted: what it lacks or bends is refused. */

const FORMAT = 'ponder-conversations'
/** 1 had several answers to a message. */
const VERSION = 2

export function exportText(conversations: Conversation[]): string {
  return JSON.stringify({ format: FORMAT, version: VERSION, conversations }, null, 1)
}

/** The conversations of a file; throws where it is not one of ours. */
export function importText(text: string): Conversation[] {
  const file = object(JSON.parse(text))
  if (file.format !== FORMAT || (file.version !== VERSION && file.version !== 1)) throw new TypeError('format')
  return array(file.conversations).map(conversation)
}

type Fields = Record<string, unknown>

function object(value: unknown): Fields {
  if (!value || typeof value !== 'object' || Array.isArray(value)) throw new TypeError('object')
  return value as Fields
}

function array(value: unknown): unknown[] {
  if (!Array.isArray(value)) throw new TypeError('array')
  return value
}

function string(value: unknown): string {
  if (typeof value !== 'string') throw new TypeError('string')
  return value
}

function number(value: unknown): number {
  if (typeof value !== 'number' || !Number.isFinite(value)) throw new TypeError('number')
  return value
}

const time = (value: unknown): number | null => (value == null ? null : number(value))

/** Ids are keys of plain objects; `__proto__` is not one of ours. */
function id(value: unknown): string {
  const text = string(value)
  if (!/^[A-Za-z0-9-]{1,64}$/.test(text)) throw new TypeError('id')
  return text
}

function conversation(value: unknown): Conversation {
  const from = object(value)
  const nodes: Record<string, Node> = {}
  for (const each of Object.values(object(from.nodes))) {
    const read = node(each)
    nodes[read.id] = read
  }
  for (const { parent } of Object.values(nodes)) {
    if (parent !== null && !nodes[parent]) throw new TypeError('parent')
  }
  const selected: Record<string, string> = {}
  for (const [parent, child] of Object.entries(object(from.selected))) {
    selected[parent === '' ? '' : id(parent)] = id(child)
  }
  return {
    id: id(from.id),
    title: string(from.title),
    createdAt: number(from.createdAt),
    updatedAt: number(from.updatedAt),
    nodes,
    selected,
  }
}

function node(value: unknown): Node {
  const from = object(value)
  const base = {
    id: id(from.id),
    parent: from.parent === null ? null : id(from.parent),
    createdAt: number(from.createdAt),
  }
  if (from.role === 'user') {
    return { ...base, role: 'user', text: string(from.text), attachments: array(from.attachments).map(attachment) }
  }
  if (from.role !== 'assistant') throw new TypeError('role')
  const answered =
    from.answers === undefined
      ? { answer: answer(from.answer), run: from.run == null ? null : run(from.run) }
      : fromAnswers(array(from.answers).map(answer), number(from.chosen))
  const status = from.status
  return {
    ...base,
    role: 'assistant',
    model: string(from.model),
    ...answered,
    status: status === 'done' || status === 'failed' ? status : 'stopped',
    failure: null,
    startedAt: number(from.startedAt),
    usage: counts(from.usage),
    timings: counts(from.timings),
  }
}

function run(value: unknown): Run {
  const from = object(value)
  const thoughts = array(from.thoughts).map((each) => {
    const thought = readThought(each)
    if (!thought) throw new TypeError('thought')
    return { ...thought, end: thought.end ?? 'cancelled' }
  })
  return {
    ...newRun(string(from.strategy), from.most == null ? null : number(from.most)),
    thoughts,
    begun: number(from.begun),
    votes: readClusters(from.votes),
    answers: array(from.answers).map(string),
    sure: from.sure == null ? null : number(from.sure),
    notes: array(from.notes).map(string),
    chosen: from.chosen == null ? null : number(from.chosen),
    receipt: readFigures(from.receipt),
  }
}

function attachment(value: unknown): Attachment {
  const from = object(value)
  return { name: string(from.name), text: string(from.text) }
}

function answer(value: unknown): Answer {
  const from = object(value)
  return {
    reasoning: string(from.reasoning),
    content: string(from.content),
    toolCalls: array(from.toolCalls).map((call) => {
      const fields = object(call)
      return { name: string(fields.name), arguments: string(fields.arguments) }
    }),
    finish: from.finish == null ? 'stopped' : string(from.finish),
    reasoningTokens: number(from.reasoningTokens),
    contentTokens: number(from.contentTokens),
    firstAt: time(from.firstAt),
    answerAt: time(from.answerAt),
    lastAt: time(from.lastAt),
    timings: counts(from.timings),
    reasoningProbs: array(from.reasoningProbs).map(tokenProb),
    contentProbs: array(from.contentProbs).map(tokenProb),
  }
}

function tokenProb(value: unknown): TokenProb {
  const [token, logprob, top] = array(value)
  return [
    string(token),
    number(logprob),
    array(top).map((each) => {
      const [token, logprob] = array(each)
      return [string(token), number(logprob)]
    }),
  ]
}

/** An object of numbers, and of objects of numbers. */
function counts<T>(value: unknown): T | null {
  if (value == null) return null
  const kept: Fields = {}
  for (const [name, field] of Object.entries(object(value))) {
    if (typeof field === 'number') kept[name] = field
    else if (field && typeof field === 'object' && name === 'completion_tokens_details') kept[name] = counts(field)
  }
  return kept as T
}
