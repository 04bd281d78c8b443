import type { Fault } from '../api/client'
import type { Timings, Usage } from '../api/types'
import type { Run } from './run'

export interface Attachment {
  name: string
  text: string
}

export interface ToolCall {
  name: string
  arguments: string
}

/** A token, its log-probability, and what else could have stood there. */
export type TokenProb = [token: string, logprob: number, top: [token: string, logprob: number][]]

/** What is answered. */
export interface Answer {
  reasoning: string
  content: string
  toolCalls: ToolCall[]
  /** Why it ended; `null` while it is being written. */
  finish: string | null
  /** Pieces received, which is tokens unless the server packs several into one. */
  reasoningTokens: number
  contentTokens: number
  /** When the first piece of each kind, and the last of all, came (milliseconds since 1970). */
  firstAt: number | null
  answerAt: number | null
  lastAt: number | null
  /** What the server measured for this answer. */
  timings: Timings | null
  reasoningProbs: TokenProb[]
  contentProbs: TokenProb[]
}

export interface Failure {
  fault: Fault
  message: string
}

interface NodeBase {
  id: string
  /** The node before; `null` for the first of a conversation. */
  parent: string | null
  createdAt: number
}

export interface UserNode extends NodeBase {
  role: 'user'
  text: string
  attachments: Attachment[]
}

export interface AssistantNode extends NodeBase {
  role: 'assistant'
  model: string
  answer: Answer
  /** How the answer was reasoned out, where a strategy was asked for. */
  run: Run | null
  status: 'running' | 'done' | 'stopped' | 'failed'
  failure: Failure | null
  startedAt: number
  usage: Usage | null
  timings: Timings | null
}

export type Node = UserNode | AssistantNode

/** A tree of messages; `selected` says which child of each node is shown. */
export interface Conversation {
  id: string
  title: string
  createdAt: number
  updatedAt: number
  nodes: Record<string, Node>
  /** Child shown below a node; the key of the root is the empty string. */
  selected: Record<string, string>
}
