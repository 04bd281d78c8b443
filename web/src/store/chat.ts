import { ApiError, isAbort, streamChat } from '../api/client'
import { chatRequest } from '../model/request'
import { newRun, type Run, votesCast } from '../model/run'
import { thoughtsOf } from '../model/settings'
import { applyChunk, finish, pickThought } from '../model/stream'
import { add, assistantNode, newConversation, pathTo, replace, userNode } from '../model/tree'
import type { AssistantNode, Attachment, Conversation, Failure } from '../model/types'
import { connect, flush, openDialog, put, say, serverLost, show, store } from './app'

/** How often an answer in progress is drawn. */
const FRAME_MS = 60

/** Sends a message below `parent` (`null`: as the first) and has it answered. */
export function send(conversationId: string | null, parent: string | null, text: string, attachments: Attachment[]): void {
  const now = Date.now()
  let conversation: Conversation =
    (conversationId && store.get().conversations[conversationId]) || newConversation(now)
  const node = userNode(conversation, parent, { text, attachments }, now)
  conversation = add(conversation, node)
  if (!conversation.title) conversation = { ...conversation, title: titleOf(text, attachments) }
  put(conversation)
  show(conversation.id)
  void answer(conversation.id, node.id)
}

function titleOf(text: string, attachments: Attachment[]): string {
  const line = text.trim().split('\n')[0]!.trim() || attachments[0]?.name || ''
  return line.length > 70 ? `${line.slice(0, 69).trimEnd()}…` : line
}

/** Has a user's message answered, as one more sibling of the answers it has. */
export async function answer(id: string, parent: string): Promise<void> {
  const { conversations, running, settings, models, key } = store.get()
  const conversation = conversations[id]
  if (!conversation || running[id]) return
  const abort = new AbortController()
  const run = settings.way === 'plain' ? null : newRun(settings.way, thoughtsOf(settings))
  let node = assistantNode(conversation, parent, settings.model || models[0] || '', run, Date.now())
  put(add(conversation, node))
  store.set({ running: { ...running, [id]: abort } })

  let timer = 0
  const draw = (): void => {
    clearTimeout(timer)
    timer = 0
    update(id, node)
  }
  let votes = 0
  let phase: 'reading' | 'thinking' | 'answering' = 'reading'
  try {
    const request = chatRequest(pathTo(conversation, parent), settings)
    for await (const chunk of streamChat(request, key, abort.signal)) {
      node = applyChunk(node, chunk, Date.now())
      phase = announce(phase, node)
      votes = announceVotes(votes, node.run)
      timer ||= window.setTimeout(draw, FRAME_MS)
    }
    node = finish(node, 'done')
    if (store.get().server !== 'up') void connect()
    sayDone(node)
  } catch (error) {
    node = isAbort(error) ? finish(node, 'stopped') : failed(node, error)
    if (isAbort(error)) say(store.get().t('saidStopped'))
  }
  const { [id]: _, ...rest } = store.get().running
  store.set({ running: rest })
  draw()
  void flush()
}

/** Puts the node as it is now in the place of what it was. */
function update(id: string, node: AssistantNode): void {
  const conversation = store.get().conversations[id]
  if (!conversation?.nodes[node.id]) return
  put(replace({ ...conversation, updatedAt: Date.now() }, node))
}

function announce<P extends 'reading' | 'thinking' | 'answering'>(phase: P, node: AssistantNode) {
  const { t } = store.get()
  if (phase !== 'answering' && node.answer.content) {
    say(t('saidAnswering'))
    return 'answering'
  }
  if (phase === 'reading' && (node.answer.reasoning || node.run?.begun)) {
    say(t('saidThinking'))
    return 'thinking'
  }
  return phase
}

/** Tells of the leader at each vote cast, not of what is written in between. */
function announceVotes(before: number, run: Run | null): number {
  const total = run ? votesCast(run) : 0
  const leader = run?.votes[0]
  if (leader && total > before && !run.receipt) {
    say(store.get().t('saidVote', { answer: leader.answer.slice(0, 80), n: leader.thoughts.length, total }))
  }
  return total
}

function sayDone(node: AssistantNode): void {
  const text = node.answer.content
  say(store.get().t('saidDone', { text: text.length > 600 ? `${text.slice(0, 600)}…` : text }))
}

function failed(node: AssistantNode, error: unknown): AssistantNode {
  const failure: Failure =
    error instanceof ApiError
      ? { fault: error.fault, message: error.message }
      : { fault: 'server', message: String(error) }
  if (failure.fault === 'network' || failure.fault === 'cut') serverLost()
  if (failure.fault === 'unauthorized') openDialog({ kind: 'key', why: store.get().key ? 'wrong' : 'wanted' })
  return finish(node, 'failed', failure)
}

/** Asks again where the last answer of the shown conversation could not be had for want of a key. */
export function retryUnauthorized(): void {
  const { current, conversations } = store.get()
  const conversation = current ? conversations[current] : undefined
  const last = conversation && Object.values(conversation.nodes).reduce((a, b) => (b.createdAt > a.createdAt ? b : a))
  if (!conversation || last?.role !== 'assistant' || last.failure?.fault !== 'unauthorized' || !last.parent) return
  retry(conversation.id, last)
}

/** Puts a new answer in the place of one that failed; one that had begun stays as a sibling. */
export function retry(id: string, node: AssistantNode): void {
  const conversation = store.get().conversations[id]
  if (!conversation || !node.parent) return
  if (!node.answer.content && !node.answer.reasoning && !node.run?.thoughts.length) {
    const { [node.id]: _, ...nodes } = conversation.nodes
    put({ ...conversation, nodes })
  }
  void answer(id, node.parent)
}

export function stop(id: string | null): void {
  if (id) store.get().running[id]?.abort()
}

/** The conversation goes on from another of the thoughts about a message. */
export function pick(id: string, node: AssistantNode, number: number): void {
  const conversation = store.get().conversations[id]
  const old = conversation?.nodes[node.id]
  if (conversation && old?.role === 'assistant') put(replace(conversation, pickThought(old, number)))
}
