import { useId, useState } from 'preact/hooks'
import type { Answer } from '../model/types'
import { useT } from '../store/app'
import { useFollow, useNow } from './hooks'
import { Icon } from './icons'
import { Markdown } from './Markdown'
import { Tokens } from './Tokens'

/** The thinking: open while it goes on, folded when the answer begins, as its reader likes after that. */
export function Thinking({ answer, probs }: { answer: Answer; probs: boolean }) {
  const t = useT()
  const id = useId()
  const live = answer.finish === null && answer.answerAt === null
  const [wanted, setWanted] = useState<boolean | null>(null)
  const open = wanted ?? live
  const now = useNow(live)
  const follow = useFollow<HTMLDivElement>(live)
  const end = live ? now : (answer.answerAt ?? answer.lastAt ?? now)
  const seconds = Math.max(0, end - (answer.firstAt ?? end)) / 1000
  return (
    <div class={`thinking ${live ? 'live' : ''}`}>
      <button type="button" class="fold" aria-expanded={open} aria-controls={id} onClick={() => setWanted(!open)}>
        <Icon name="fold" size={14} />
        <span class="fold-name">{live ? t('thinking') : t('thought')}</span>
        <span class="fold-count">
          {t('tokensAndSeconds', { tokens: answer.reasoningTokens, seconds: t.number(seconds, 1) })}
        </span>
      </button>
      <div
        id={id}
        class="thinking-body"
        hidden={!open}
        ref={follow.ref}
        tabIndex={live ? 0 : undefined}
        role="group"
        aria-label={t('thinking')}
        onScroll={follow.onScroll}
      >
        {open && (probs && answer.reasoningProbs.length > 0 ? <Tokens tokens={answer.reasoningProbs} /> : <Markdown text={answer.reasoning} />)}
      </div>
    </div>
  )
}
