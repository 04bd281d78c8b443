import { newId } from './id'
import type { Run } from './run'
import type { Answer, AssistantNode, Conversation, Node, UserNode } from './types'

/**
 * The tree of a conversation. Nothing here changes what it is given: a new conversation comes
 * back, and nodes that did not change are the same objects.
 */

export function newConversation(now: number): Conversation {
  return { id: newId(), title: '', createdAt: now, updatedAt: now, nodes: {}, selected: {} }
}

const key = (parent: string | null): string => parent ?? ''

/** Children of a node (`null`: the root), oldest first. */
export function children(conversation: Conversation, parent: string | null): Node[] {
  return Object.values(conversation.nodes)
    .filter((node) => node.parent === parent)
    .sort((a, b) => a.createdAt - b.createdAt || (a.id < b.id ? -1 : 1))
}

/** The nodes shown, from the first message down. */
export function path(conversation: Conversation): Node[] {
  const byParent = new Map<string, Node[]>()
  for (const node of Object.values(conversation.nodes)) {
    const list = byParent.get(key(node.parent))
    if (list) list.push(node)
    else byParent.set(key(node.parent), [node])
  }
  const nodes: Node[] = []
  let parent = ''
  for (;;) {
    const options = byParent.get(parent)
    if (!options) return nodes
    byParent.delete(parent) // whatever a file says, no node comes twice
    const wanted = conversation.selected[parent]
    const node =
      options.find((option) => option.id === wanted) ??
      options.reduce((a, b) => (b.createdAt > a.createdAt ? b : a))
    nodes.push(node)
    parent = node.id
  }
}

/** The nodes from the first message to `id`, that included. */
export function pathTo(conversation: Conversation, id: string | null): Node[] {
  const nodes: Node[] = []
  const seen = new Set<string>()
  let node = id === null ? undefined : conversation.nodes[id]
  while (node && !seen.has(node.id)) {
    seen.add(node.id)
    nodes.unshift(node)
    node = node.parent === null ? undefined : conversation.nodes[node.parent]
  }
  return nodes
}

/** A node's place among its siblings, and their ids. */
export function siblings(conversation: Conversation, id: string): { ids: string[]; at: number } {
  const node = conversation.nodes[id]
  if (!node) return { ids: [], at: -1 }
  const ids = children(conversation, node.parent).map((child) => child.id)
  return { ids, at: ids.indexOf(id) }
}

/** Adds a node below its parent and shows it. */
export function add(conversation: Conversation, node: Node): Conversation {
  return {
    ...conversation,
    updatedAt: Math.max(conversation.updatedAt, node.createdAt),
    nodes: { ...conversation.nodes, [node.id]: node },
    selected: { ...conversation.selected, [key(node.parent)]: node.id },
  }
}

/** Puts a changed node in the place of the one with its id. */
export function replace(conversation: Conversation, node: Node): Conversation {
  if (!conversation.nodes[node.id]) return conversation
  return { ...conversation, nodes: { ...conversation.nodes, [node.id]: node } }
}

/** Shows the branch of `id`. */
export function select(conversation: Conversation, id: string): Conversation {
  const node = conversation.nodes[id]
  if (!node) return conversation
  return { ...conversation, selected: { ...conversation.selected, [key(node.parent)]: id } }
}

/** Shows the sibling `step` places away, if there is one. */
export function step(conversation: Conversation, id: string, by: number): Conversation {
  const { ids, at } = siblings(conversation, id)
  const next = ids[at + by]
  return at < 0 || next === undefined ? conversation : select(conversation, next)
}

/** `createdAt` orders siblings, so two of them must not share one. */
function after(conversation: Conversation, parent: string | null, now: number): number {
  return children(conversation, parent).reduce((at, node) => Math.max(at, node.createdAt + 1), now)
}

export function userNode(
  conversation: Conversation,
  parent: string | null,
  content: Pick<UserNode, 'text' | 'attachments'>,
  now: number,
): UserNode {
  return { id: newId(), parent, role: 'user', createdAt: after(conversation, parent, now), ...content }
}

export function assistantNode(
  conversation: Conversation,
  parent: string,
  model: string,
  run: Run | null,
  now: number,
): AssistantNode {
  return {
    id: newId(),
    parent,
    role: 'assistant',
    createdAt: after(conversation, parent, now),
    model,
    answer: emptyAnswer(),
    run,
    status: 'running',
    failure: null,
    startedAt: now,
    usage: null,
    timings: null,
  }
}

export const emptyAnswer = (): Answer => ({
  reasoning: '',
  content: '',
  toolCalls: [],
  finish: null,
  reasoningTokens: 0,
  contentTokens: 0,
  firstAt: null,
  answerAt: null,
  lastAt: null,
  timings: null,
  reasoningProbs: [],
  contentProbs: [],
})
