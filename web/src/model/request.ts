import type { ChatMessage, ChatRequest } from '../api/types'
import { withAttachments } from './attachments'
import { SAMPLING_FIELDS, type Settings, thoughtsOf } from './settings'
import type { Node } from './types'

/** What is asked of the server for the messages of a path. Thinking is not sent back. */
export function chatRequest(nodes: Node[], settings: Settings): ChatRequest {
  const messages: ChatMessage[] = []
  if (settings.system.trim()) messages.push({ role: 'system', content: settings.system })
  for (const node of nodes) {
    if (node.role === 'user') {
      messages.push({ role: 'user', content: withAttachments(node.text, node.attachments) })
    } else {
      messages.push({ role: 'assistant', content: node.answer.content })
    }
  }
  const request: ChatRequest = { messages, stream: true, stream_options: { include_usage: true } }
  if (settings.model) request.model = settings.model
  for (const field of SAMPLING_FIELDS) {
    const value = settings[field]
    if (value !== null) request[field] = value
  }
  if (settings.budget === 0) request.chat_template_kwargs = { enable_thinking: false }
  if (settings.way !== 'plain') return { ...request, reasoning: reasoning(settings) }
  if (settings.budget) request.thinking_budget = settings.budget
  if (settings.logprobs) {
    request.logprobs = true
    request.top_logprobs = 5
  }
  return request
}

function reasoning(settings: Settings): NonNullable<ChatRequest['reasoning']> {
  const { way, budget, deadline, settle } = settings
  const n = thoughtsOf(settings)
  return {
    strategy: way,
    ...(n === null ? {} : { n }),
    ...(budget ? { max_tokens: budget } : {}),
    ...(deadline === null ? {} : { deadline_ms: deadline * 1000 }),
    ...(settle ? { settle: true as const } : {}),
  }
}
