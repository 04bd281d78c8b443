import type { Chunk, ChunkChoice, TokenLogprob } from '../api/types'
import { applyEvent, applyReceipt, closeRun, newRun, type Run, said, type Thought } from './run'
import type { Answer, AssistantNode, TokenProb, ToolCall } from './types'

/** The node with a chunk of the stream added. */
export function applyChunk(node: AssistantNode, chunk: Chunk, now: number): AssistantNode {
  let { answer, run } = node
  for (const choice of chunk.choices ?? []) {
    // One answer is asked for, whoever sends more.
    if ((choice.index ?? 0) !== 0) continue
    const details = choice.delta?.reasoning_details
    if (details?.event) run = applyEvent(run ?? newRun('', null), details.event)
    answer = applyChoice(answer, choice, now)
    if (details?.receipt) {
      run = applyReceipt(run ?? newRun('', null), details.receipt)
      const chosen = chosenOf(run)
      if (chosen) answer = accounted(answer, chosen, now)
    }
  }
  if (chunk.usage && !run) answer = counted(answer, chunk)
  return {
    ...node,
    answer,
    run,
    model: chunk.model || node.model,
    usage: chunk.usage ?? node.usage,
    timings: chunk.timings ?? node.timings,
  }
}

/** A reasoned answer comes all at once: its counts and times are those of its thought. */
function accounted(answer: Answer, thought: Thought, now: number): Answer {
  return {
    ...answer,
    reasoningTokens: answer.reasoning ? thought.thinking : 0,
    contentTokens: thought.tokens - (answer.reasoning ? thought.thinking : 0),
    firstAt: now - (thought.seconds ?? 0) * 1000,
    answerAt: now,
    lastAt: now,
  }
}

const chosenOf = (run: Run | null): Thought | undefined => run?.thoughts.find(({ number }) => number === run.chosen)

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
  const run = node.run && closeRun(node.run)
  let { answer } = node
  if (answer.finish === null) answer = { ...answer, finish: status === 'done' ? 'stop' : status }
  // What was found before it was stopped is better than nothing.
  const chosen = chosenOf(run)
  if (chosen && !answer.content) answer = { ...answer, ...said(chosen) }
  return { ...node, answer, run, status, failure }
}

/** The node with the answer of another of its thoughts. */
export function pickThought(node: AssistantNode, number: number): AssistantNode {
  const thought = node.run?.thoughts.find((thought) => thought.number === number)
  if (!node.run || !thought) return node
  const finish = thought.end === 'length' ? 'length' : 'stop'
  const answer = accounted({ ...node.answer, ...said(thought), finish }, thought, node.answer.lastAt ?? node.startedAt)
  return { ...node, run: { ...node.run, chosen: number }, answer }
}
