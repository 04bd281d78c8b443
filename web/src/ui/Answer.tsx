import { useId, useState } from 'preact/hooks'
import { majority } from '../model/vote'
import type { Answer, AssistantNode } from '../model/types'
import { choose, retry } from '../store/chat'
import { useT } from '../store/app'
import { Branches } from './Branches'
import { CopyButton } from './CopyButton'
import { useNow } from './hooks'
import { Icon, IconButton } from './icons'
import { Markdown } from './Markdown'
import { Thinking } from './Thinking'
import { Tokens } from './Tokens'
import { VoteBar } from './VoteBar'

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
  const many = node.answers.length > 1
  const running = node.status === 'running'
  const chosen = node.answers[node.chosen] ?? node.answers[0]!
  const agreeing = many && !running ? (node.vote ?? majority(node.answers))?.members : undefined
  return (
    <article class={`turn answer ${many ? 'many' : ''}`} aria-label={t('answer')} aria-busy={running} data-status={node.status}>
      <div class={many ? 'side-by-side' : ''} data-n={many ? node.answers.length : undefined}>
        {node.answers.map((answer, at) => (
          <AnswerView
            key={at}
            answer={answer}
            node={node}
            at={at}
            agrees={agreeing && agreeing.length > 1 ? agreeing.includes(at) : false}
            onChoose={() => choose(conversation, node, at)}
          />
        ))}
      </div>
      {many && <VoteBar node={node} />}
      {node.failure && <FailureView node={node} busy={busy} onRetry={() => retry(conversation, node)} />}
      {!running && (
        <footer class="turn-foot">
          <Stats node={node} />
          <span class="actions">
            <Branches conversation={conversation} id={node.id} ids={branches} />
            {chosen.content && <CopyButton text={chosen.content} />}
            <IconButton icon="again" label={t('regenerate')} disabled={busy} onClick={onRegenerate} />
          </span>
        </footer>
      )}
    </article>
  )
}

interface AnswerProps {
  answer: Answer
  node: AssistantNode
  at: number
  agrees: boolean
  onChoose: () => void
}

function AnswerView({ answer, node, at, agrees, onChoose }: AnswerProps) {
  const t = useT()
  const name = useId()
  const many = node.answers.length > 1
  const live = answer.finish === null
  const hasProbs = answer.contentProbs.length + answer.reasoningProbs.length > 0
  const [probs, setProbs] = useState(false)
  const waiting = live && answer.firstAt === null
  const body = (
    <>
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
      {(live && !waiting) || hasProbs || (many && answer.firstAt !== null) ? (
        <div class="answer-foot">
          <Rate answer={answer} live={live} shown={live || many} />
          {hasProbs && (
            <button type="button" class="text-button" aria-pressed={probs} onClick={() => setProbs(!probs)}>
              <Icon name="bars" size={14} />
              {probs ? t('showText') : t('showTokens')}
            </button>
          )}
        </div>
      ) : null}
    </>
  )
  if (!many) return body
  const chosen = node.chosen === at && node.status !== 'running'
  return (
    <section class={`card ${chosen ? 'chosen' : ''}`} aria-labelledby={name}>
      <header class="card-head">
        <h2 id={name}>{t('answerN', { n: at + 1 })}</h2>
        {agrees && (
          <span class="agrees" title={t('vote')}>
            <Icon name="check" size={14} />
          </span>
        )}
        {node.status !== 'running' && (
          <button type="button" class="text-button" aria-pressed={chosen} onClick={onChoose} title={chosen ? t('goesOnFrom') : t('goOnFrom')}>
            <span class="radio" aria-hidden="true" />
            <span class="hidden">{t('goOnFrom')}</span>
          </button>
        )}
      </header>
      <div class="card-body" tabIndex={0} role="group" aria-labelledby={name}>
        {body}
      </div>
    </section>
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

/** Tokens per second of one answer, by the page's own clock until the server tells. */
function Rate({ answer, live, shown }: { answer: Answer; live: boolean; shown: boolean }) {
  const t = useT()
  const now = useNow(live)
  const tokens = answer.reasoningTokens + answer.contentTokens
  if (!shown || answer.firstAt === null) return null
  const seconds = ((live ? now : (answer.lastAt ?? now)) - answer.firstAt) / 1000
  const measured = answer.timings?.predicted_per_second
  const perSecond = measured ?? (seconds > 0.2 && tokens > 1 ? (tokens - 1) / seconds : undefined)
  return (
    <span class="rate">
      {perSecond !== undefined && t('perSecond', { n: t.number(perSecond, 1) })}
      {!live && ` · ${t('tokens', { n: tokens })}`}
    </span>
  )
}

/** What the server measured. */
function Stats({ node }: { node: AssistantNode }) {
  const t = useT()
  const { usage } = node
  // The server's figures are those of one answer; several are clocked here.
  const timings = node.answers.length === 1 ? node.timings : null
  const parts: string[] = []
  const own = ownCount(node)
  const total = usage?.completion_tokens ?? timings?.predicted_n ?? own.tokens
  if (!total) return <span class="stats" />
  const thinking = usage?.completion_tokens_details?.reasoning_tokens ?? own.thinking
  const ms = timings?.predicted_ms ?? own.ms
  const perSecond = timings?.predicted_per_second ?? (own.ms > 200 ? (own.tokens / own.ms) * 1000 : undefined)
  if (perSecond !== undefined) parts.push(t('perSecond', { n: t.number(perSecond, 1) }))
  parts.push(thinking ? t('tokensThinking', { n: total, thinking }) : t('tokens', { n: total }))
  if (ms) parts.push(t('seconds', { n: t.number(ms / 1000, 1) }))
  const cached = node.timings?.cache_n
  const prompt = usage?.prompt_tokens ?? (node.timings?.prompt_n ?? 0) + (cached ?? 0)
  if (prompt) {
    parts.push(cached ? t('promptCached', { n: prompt, cached }) : t('promptTokens', { n: prompt }))
  }
  return (
    <span class="stats" data-testid="stats" title={node.model}>
      {parts.join(' · ')}
    </span>
  )
}

function ownCount(node: AssistantNode): { tokens: number; thinking: number; ms: number } {
  let tokens = 0
  let thinking = 0
  let first = Infinity
  let last = 0
  for (const answer of node.answers) {
    tokens += answer.reasoningTokens + answer.contentTokens
    thinking += answer.reasoningTokens
    first = Math.min(first, answer.firstAt ?? Infinity)
    last = Math.max(last, answer.lastAt ?? 0)
  }
  return { tokens, thinking, ms: Math.max(0, last - first) }
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
