import { memo } from 'preact/compat'
import { useId, useState } from 'preact/hooks'
import type { Key } from '../i18n/en'
import { isGivenUp, said, type Thought } from '../model/run'
import { useT } from '../store/app'
import { Badge, colourClass } from './Badge'
import { useFollow } from './hooks'
import { Icon } from './icons'
import { Markdown } from './Markdown'

/** Steps shown on a card that is not opened. */
const STEPS = 2

const ABOUT: Record<string, Key> = { draft: 'draft', doubt: 'doubt', revision: 'revision' }
const ENDS: Record<string, Key> = {
  ...{ ended: 'endEnded', budget: 'endBudget', settled: 'endSettled', loop: 'endLoop', deadline: 'endDeadline' },
  ...{ length: 'endLength', weak: 'endWeak', unwanted: 'endUnwanted', cancelled: 'endCancelled' },
}
const MEASURES: Record<string, Key> = {
  ...{ wait: 'stepWait', loop: 'stepLoop', language: 'stepLanguage', settled: 'stepSettled' },
  ...{ weak: 'stepWeak', deadline: 'stepDeadline', full: 'stepFull', program: 'stepProgram' },
}

interface Props {
  thought: Thought
  /** The answer's colour; -1: none. */
  colour: number
  chosen: boolean
  /** Whether the conversation can go on from it. */
  pickable: boolean
  onPick: (number: number) => void
}

/** One thought: its text as it grows, what was done to it, what it came to. */
export const ThoughtCard = memo(
  function ThoughtCard({ thought, colour, chosen, pickable, onPick }: Props) {
    const t = useT()
    const name = useId()
    const [all, setAll] = useState(false)
    const live = thought.end === null
    const follow = useFollow<HTMLDivElement>(live)
    const about = ABOUT[thought.about] ? t(ABOUT[thought.about]!) : ''
    const state = chosen ? 'chosen' : isGivenUp(thought) ? 'given-up' : ''
    return (
      <li class={`card ${state} ${live ? 'live' : ''} ${all ? 'all' : ''} ${colourClass(colour)}`} aria-labelledby={name}>
        <header class="card-head">
          {live && <span class="pulse" aria-hidden="true" />}
          <h2 id={name}>
            {t('thoughtN', { n: thought.number + 1 })}
            {about && <span class="about"> {about}</span>}
          </h2>
          {chosen && (
            <span class="mark">
              <Icon name="check" size={14} />
              {t('chosen')}
            </span>
          )}
          <span class="card-count">{t('tokens', { n: thought.tokens })}</span>
        </header>
        <div class="card-body" ref={follow.ref} onScroll={follow.onScroll} tabIndex={0} role="group" aria-labelledby={name}>
          <ThoughtText thought={thought} live={live} />
        </div>
        <Steps thought={thought} all={all} />
        <footer class="card-foot">
          {thought.answer !== null ? (
            <Badge answer={thought.answer} colour={colour} />
          ) : (
            !live && !isGivenUp(thought) && <span class="muted">{t('noAnswer')}</span>
          )}
          {thought.end !== null && <span class="end">{ENDS[thought.end] ? t(ENDS[thought.end]!) : thought.end}</span>}
          <span class="card-actions">
            <button type="button" class="text-button" aria-expanded={all} onClick={() => setAll(!all)}>
              {all ? t('showLess') : t('showAll')}
            </button>
            {pickable && (
              <button
                type="button"
                class="text-button"
                aria-pressed={chosen}
                title={chosen ? t('goesOnFrom') : t('goOnFrom')}
                onClick={() => onPick(thought.number)}
              >
                <span class="radio" aria-hidden="true" />
                <span class="hidden">{t('goOnFrom')}</span>
              </button>
            )}
          </span>
        </footer>
      </li>
    )
  },
  (a, b) => a.thought === b.thought && a.colour === b.colour && a.chosen === b.chosen && a.pickable === b.pickable,
)

/** As plain text while it grows, for eight at once; drawn in full when it is over. */
function ThoughtText({ thought, live }: { thought: Thought; live: boolean }) {
  const { reasoning, content } = said(thought)
  if (live) {
    return (
      <p class="plain" dir="auto">
        {reasoning && <span class="muted">{reasoning}</span>}
        {reasoning && content && '\n\n'}
        {content}
      </p>
    )
  }
  return (
    <>
      {reasoning && (
        <div class="muted">
          <Markdown text={reasoning} />
        </div>
      )}
      {content && <Markdown text={content} />}
    </>
  )
}

function Steps({ thought, all }: { thought: Thought; all: boolean }) {
  const t = useT()
  const { steps } = thought
  if (!steps.length) return null
  const shown = all ? steps : steps.slice(-STEPS)
  return (
    <ul class="steps">
      {shown.length < steps.length && <li>{t('earlierSteps', { n: steps.length - shown.length })}</li>}
      {shown.map(({ at, measure, note }, index) => (
        <li key={index} title={t('stepAt', { n: at })}>
          <strong>{MEASURES[measure] ? t(MEASURES[measure]!) : measure}</strong> {note}
        </li>
      ))}
    </ul>
  )
}
