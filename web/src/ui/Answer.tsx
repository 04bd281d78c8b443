import { useState } from 'preact/hooks'
import type { Answer, AssistantNode } from '../model/types'
import { retry } from '../store/chat'
import { useT } from '../store/app'
import { Branches } from './Branches'
import { CopyButton } from './CopyButton'
import { useNow } from './hooks'
import { Icon, IconButton } from './icons'
import { Markdown } from './Markdown'
import { Thinking } from './Thinking'
import { Thoughts } from './Thoughts'
import { Tokens } from './Tokens'

interface AnswersProps {
  conversation: string
  node: AssistantNode
  branches: string[]
  busy: boolean
  onRegenerate: () => void
}

/** All that answers one message. */
export function Answers({ conversation, node, branches, busy, onRegenerate }: AnswersProps) {
  const t = useT()
  const { answer, run } = node
  const running = node.status === 'running'
  return (
    <article class={`turn answer ${run ? 'reasoned' : ''}`} aria-label={t('answer')} aria-busy={running} data-status={node.status}>
      {run && run.begun > 0 && <Thoughts conversation={conversation} node={node} run={run} />}
      <AnswerView answer={answer} node={node} />
      {node.failure && <FailureView node={node} busy={busy} onRetry={() => retry(conversation, node)} />}
      {!running && (
        <footer class="turn-foot">
          <Stats node={node} />
          <span class="actions">
            <Branches conversation={conversation} id={node.id} ids={branches} />
            {answer.content && <CopyButton text={answer.content} />}
            <IconButton icon="again" label={t('regenerate')} disabled={busy} onClick={onRegenerate} />
          </span>
        </footer>
      )}
    </article>
  )
}

function AnswerView({ answer, node }: { answer: Answer; node: AssistantNode }) {
  const t = useT()
  const live = answer.finish === null
  const hasProbs = answer.contentProbs.length + answer.reasoningProbs.length > 0
  const [probs, setProbs] = useState(false)
  const reasoned = node.run !== null
  const waiting = live && answer.firstAt === null && !node.run?.begun
  return (
    <div class="answer-body">
      {waiting && <Waiting since={node.startedAt} />}
      {answer.reasoning && <Thinking answer={answer} probs={probs} />}
      {probs && answer.contentProbs.length > 0 ? (
        <Tokens tokens={answer.contentProbs} />
      ) : (
        answer.content && <Markdown text={answer.content} />
      )}
      {answer.toolCalls.map((call, index) => (
        <div class="tool-call" key={index}>
          <span class="muted">{t('toolCall')}</span> <code>{call.name}</code>
          <pre tabIndex={0}>{call.arguments}</pre>
        </div>
      ))}
      {answer.finish === 'length' && <p class="note">{t('cutByLength')}</p>}
      {answer.finish === 'stopped' && <p class="note">{t('stopped')}</p>}
      {answer.finish === 'stop' && !answer.content && !answer.toolCalls.length && <p class="note">{t('empty')}</p>}
      {(live && !waiting && !reasoned) || hasProbs ? (
        <div class="answer-foot">
          {live && <Rate answer={answer} />}
          {hasProbs && (
            <button type="button" class="text-button" aria-pressed={probs} onClick={() => setProbs(!probs)}>
              <Icon name="bars" size={14} />
              {probs ? t('showText') : t('showTokens')}
            </button>
          )}
        </div>
      ) : null}
    </div>
  )
}

function Waiting({ since }: { since: number }) {
  const t = useT()
  const now = useNow(true)
  return (
    <p class="waiting">
      <span class="pulse" aria-hidden="true" />
      {t('reading')} · {t('seconds', { n: t.number(Math.max(0, now - since) / 1000, 1) })}
    </p>
  )
}

/** Tokens per second of an answer under way, by the page's own clock. */
function Rate({ answer }: { answer: Answer }) {
  const t = useT()
  const now = useNow(true)
  const tokens = answer.reasoningTokens + answer.contentTokens
  const seconds = (now - (answer.firstAt ?? now)) / 1000
  if (seconds <= 0.2 || tokens < 2) return null
  return <span class="rate">{t('perSecond', { n: t.number((tokens - 1) / seconds, 1) })}</span>
}

/** What the server measured. */
function Stats({ node }: { node: AssistantNode }) {
  const t = useT()
  const { usage, timings, answer } = node
  const parts: string[] = []
  const reasoned = node.run?.receipt?.usage
  const total = usage?.completion_tokens ?? timings?.predicted_n ?? answer.reasoningTokens + answer.contentTokens
  if (!total) return <span class="stats" />
  const thinking = usage?.completion_tokens_details?.reasoning_tokens ?? answer.reasoningTokens
  const clocked = reasoned?.seconds !== undefined ? reasoned.seconds * 1000 : Math.max(0, (answer.lastAt ?? 0) - (answer.firstAt ?? 0))
  const ms = timings?.predicted_ms ?? clocked
  const perSecond = timings?.predicted_per_second ?? (clocked > 200 ? (total / clocked) * 1000 : undefined)
  if (perSecond !== undefined) parts.push(t('perSecond', { n: t.number(perSecond, 1) }))
  // A receipt's tokens and seconds stand above.
  if (!reasoned) parts.push(thinking ? t('tokensThinking', { n: total, thinking }) : t('tokens', { n: total }))
  if (ms && !reasoned) parts.push(t('seconds', { n: t.number(ms / 1000, 1) }))
  const cached = timings?.cache_n
  const prompt = usage?.prompt_tokens ?? (timings?.prompt_n ?? 0) + (cached ?? 0)
  if (prompt) {
    parts.push(cached ? t('promptCached', { n: prompt, cached }) : t('promptTokens', { n: prompt }))
  }
  return (
    <span class="stats" data-testid="stats" title={node.model}>
      {parts.join(' · ')}
    </span>
  )
}

function FailureView({ node, busy, onRetry }: { node: AssistantNode; busy: boolean; onRetry: () => void }) {
  const t = useT()
  const { fault, message } = node.failure!
  const text = {
    network: () => t('errorNetwork'),
    cut: () => t('errorCut'),
    unauthorized: () => t('errorUnauthorized'),
    server: () => t('errorServer', { message }),
  }[fault]()
  return (
    <div class="failure" role="alert">
      <p>{text}</p>
      <button type="button" class="button" disabled={busy} onClick={onRetry}>
        {t('retry')}
      </button>
    </div>
  )
}
