import type { ChatMessage, ChatRequest } from '../api/types'
import { withAttachments } from './attachments'
import { NUMBER_FIELDS, type Settings } from './settings'
import type { Node } from './types'

/** What is asked of the server for the messages of a path. Thinking is not sent back. */
export function chatRequest(nodes: Node[], settings: Settings): ChatRequest {
  const messages: ChatMessage[] = []
  if (settings.system.trim()) messages.push({ role: 'system', content: settings.system })
  for (const node of nodes) {
    if (node.role === 'user') {
      messages.push({ role: 'user', content: withAttachments(node.text, node.attachments) })
    } else {
      const answer = node.answers[node.chosen] ?? node.answers[0]
      messages.push({ role: 'assistant', content: answer?.content ?? '' })
    }
  }
  const request: ChatRequest = { messages, stream: true, stream_options: { include_usage: true } }
  if (settings.model) request.model = settings.model
  if (settings.n > 1) request.n = settings.n
  for (const field of NUMBER_FIELDS) {
    const value = settings[field]
    if (value !== null) request[field] = value
  }
  if (settings.budget === 0) request.chat_template_kwargs = { enable_thinking: false }
  else if (settings.budget !== null) request.thinking_budget = settings.budget
  if (settings.logprobs) {
    request.logprobs = true
    request.top_logprobs = 5
  }
  return request
}
