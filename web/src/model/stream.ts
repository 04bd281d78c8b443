import type { Chunk, ChunkChoice, Timings, TokenLogprob } from '../api/types'
import { emptyAnswer } from './tree'
import type { Answer, AssistantNode, TokenProb, ToolCall } from './types'
import { majority } from './vote'

/** No server of ours sends more answers than were asked for; others' indices are not trusted. */
const MOST_ANSWERS = 64

/** The node with a chunk of the stream added. */
export function applyChunk(node: AssistantNode, chunk: Chunk, now: number): AssistantNode {
  const answers = node.answers.slice()
  for (const choice of chunk.choices ?? []) {
    const index = choice.index ?? 0
    if (!Number.isInteger(index) || index < 0 || index >= MOST_ANSWERS) continue
    while (answers.length <= index) answers.push(emptyAnswer())
    let answer = applyChoice(answers[index]!, choice, now)
    if (choice.finish_reason && chunk.timings) answer = measured(answer, chunk.timings)
    answers[index] = answer
  }
  let next: AssistantNode = {
    ...node,
    answers,
    model: chunk.model || node.model,
    usage: chunk.usage ?? node.usage,
    timings: chunk.timings ?? node.timings,
  }
  if (chunk.usage && answers.length === 1) next = { ...next, answers: [counted(answers[0]!, chunk)] }
  return next
}

/** What the server measured for one of several answers. */
function measured(answer: Answer, timings: Timings): Answer {
  const total = timings.predicted_n ?? answer.reasoningTokens + answer.contentTokens
  return { ...answer, timings, contentTokens: Math.max(0, total - answer.reasoningTokens) }
}

/** The counts of a single answer, as the server has them. */
function counted(answer: Answer, chunk: Chunk): Answer {
  const total = chunk.usage?.completion_tokens
  const thinking = chunk.usage?.completion_tokens_details?.reasoning_tokens
  if (typeof total !== 'number') return answer
  const reasoningTokens = typeof thinking === 'number' ? thinking : answer.reasoningTokens
  return { ...answer, reasoningTokens, contentTokens: Math.max(0, total - reasoningTokens) }
}

function applyChoice(answer: Answer, choice: ChunkChoice, now: number): Answer {
  const next = { ...answer }
  const delta = choice.delta ?? {}
  if (delta.reasoning_content) {
    if (!next.reasoning && !next.content) {
      // What came before any text was the tag that opens the thinking.
      next.reasoningProbs = next.contentProbs
      next.contentProbs = []
    }
    next.reasoning += delta.reasoning_content
    next.reasoningTokens += 1
  }
  if (delta.content) {
    next.content += delta.content
    next.contentTokens += 1
  }
  const probs = choice.logprobs?.content?.map(prob)
  if (probs?.length) {
    // They may come in a chunk of their own, after the text.
    const thinking = next.reasoning !== '' && next.answerAt === null && !delta.content
    if (thinking) next.reasoningProbs = next.reasoningProbs.concat(probs)
    else next.contentProbs = next.contentProbs.concat(probs)
  }
  if (delta.tool_calls) {
    const calls: ToolCall[] = next.toolCalls.slice()
    for (const call of delta.tool_calls) {
      const at = call.index ?? calls.length
      if (!Number.isInteger(at) || at < 0 || at > calls.length) continue
      const old = calls[at] ?? { name: '', arguments: '' }
      calls[at] = {
        name: old.name + (call.function?.name ?? ''),
        arguments: old.arguments + (call.function?.arguments ?? ''),
      }
    }
    next.toolCalls = calls
  }
  if (delta.reasoning_content || delta.content || delta.tool_calls?.length) {
    next.firstAt ??= now
    next.lastAt = now
    if (delta.content || delta.tool_calls?.length) next.answerAt ??= now
  }
  if (choice.finish_reason) next.finish = choice.finish_reason
  return next
}

const prob = (token: TokenLogprob): TokenProb => [
  token.token,
  token.logprob,
  (token.top_logprobs ?? []).map(({ token, logprob }) => [token, logprob]),
]

/** The node when nothing more will come. */
export function finish(
  node: AssistantNode,
  status: 'done' | 'stopped' | 'failed',
  failure: AssistantNode['failure'] = null,
): AssistantNode {
  const answers = node.answers.map((answer) =>
    answer.finish === null ? { ...answer, finish: status === 'done' ? 'stop' : status } : answer,
  )
  const vote = node.vote ?? majority(answers)
  const chosen = node.picked ? node.chosen : (vote?.members[0] ?? node.chosen)
  return { ...node, answers, status, failure, chosen }
}
