import { useId, useState } from 'preact/hooks'
import { colourOf, type Run } from '../model/run'
import type { AssistantNode } from '../model/types'
import { pick } from '../store/chat'
import { useT } from '../store/app'
import { Figures } from './Figures'
import { useNow } from './hooks'
import { Icon } from './icons'
import { ThoughtCard } from './ThoughtCard'
import { VoteBar } from './VoteBar'
import { wayName } from './Way'

/** A strategy's thoughts: side by side while they are had, folded into a line when they are over. */
export function Thoughts({ conversation, node, run }: { conversation: string; node: AssistantNode; run: Run }) {
  const t = useT()
  const id = useId()
  const live = node.status === 'running' && !run.receipt
  const [wanted, setWanted] = useState<boolean | null>(null)
  const open = wanted ?? live
  return (
    <section class={`run ${live ? 'live' : ''}`} aria-label={t('thoughts')}>
      <div class="run-head">
        <button type="button" class="fold" aria-expanded={open} aria-controls={id} onClick={() => setWanted(!open)}>
          <Icon name="fold" size={14} />
          <span class="fold-name">{wayName(t, run.strategy)}</span>
          <span class="fold-count">{live ? <Progress run={run} since={node.startedAt} /> : <Summary run={run} />}</span>
        </button>
        <VoteBar run={run} />
      </div>
      <div id={id} class="run-body" hidden={!open}>
        {open && (
          <>
            {run.notes.length > 0 && (
              <ul class="run-notes" aria-label={t('notes')}>
                {run.notes.map((note, index) => (
                  <li key={index}>{note}</li>
                ))}
              </ul>
            )}
            <ul class="thoughts" style={{ '--n': Math.max(run.thoughts.length, live ? Math.min(run.most ?? 1, 4) : 1) }}>
              {run.thoughts.map((thought) => (
                <ThoughtCard
                  key={thought.number}
                  thought={thought}
                  colour={colourOf(run, thought.number)}
                  chosen={run.chosen === thought.number}
                  pickable={node.status !== 'running' && run.thoughts.length > 1}
                  onPick={(number) => pick(conversation, node, number)}
                />
              ))}
            </ul>
            {run.receipt && <Figures receipt={run.receipt} />}
          </>
        )}
      </div>
    </section>
  )
}

function Progress({ run, since }: { run: Run; since: number }) {
  const t = useT()
  const now = useNow(true)
  const over = run.thoughts.filter(({ end }) => end !== null).length
  const time = t.number(Math.max(0, now - since) / 1000, 1)
  // A search does not say which of its texts are over.
  if (run.strategy === 'search') return <>{t('runBegun', { n: run.begun, seconds: time })}</>
  return <>{t('runLive', { n: run.begun, over, seconds: time })}</>
}

function Summary({ run }: { run: Run }) {
  const t = useT()
  const usage = run.receipt?.usage
  const answers = run.votes.length || new Set(run.thoughts.flatMap(({ answer }) => answer ?? [])).size
  const parts = [t('runAnswers', { n: run.begun, answers })]
  if (usage) {
    parts.push(
      t('runTokens', {
        seconds: t.number(usage.seconds ?? 0, 1),
        tokens: usage.drawn_tokens ?? 0,
        discarded: usage.discarded_tokens ?? 0,
      }),
    )
  }
  return <>{parts.join(t.lang === 'zh' ? '，' : ', ')}</>
}
