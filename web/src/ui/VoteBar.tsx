import { type Run, votesCast } from '../model/run'
import { useT } from '../store/app'
import { Badge, colourClass } from './Badge'

/** Answers named below the bar; the rest are in it. */
const NAMED = 6

/** What the thoughts agree on so far: a bar of votes, with those that are still to come left empty. */
export function VoteBar({ run }: { run: Run }) {
  const t = useT()
  const cast = votesCast(run)
  const total = run.votes.reduce((sum, { weight }) => sum + weight, 0)
  if (!cast || total <= 0) return null
  const each = total / cast
  const whole = run.receipt ? total : Math.max(total, toCome(run) * each)
  const place = ({ answer }: { answer: string }): number => run.answers.indexOf(answer)
  // While it goes on in the order in which they came up, so that the pieces grow and do not jump.
  const pieces = run.receipt ? run.votes : [...run.votes].sort((a, b) => place(a) - place(b))
  return (
    <div class="vote" data-testid="vote" role="group" aria-label={t('vote')}>
      <div class="vote-bar" aria-hidden="true">
        {pieces.map(({ answer, weight }) => (
          <span
            key={answer}
            class={colourClass(run.answers.indexOf(answer))}
            style={{ width: `${(weight / whole) * 100}%` }}
          />
        ))}
      </div>
      <ol class="vote-list">
        {run.votes.slice(0, NAMED).map(({ answer, weight, thoughts }, rank) => (
          <li key={answer} class={rank === 0 ? 'leader' : ''}>
            <Badge answer={answer} colour={run.answers.indexOf(answer)} />
            <span class="muted">{t('votes', { percent: t.percent(Math.round((weight / total) * 100) / 100), n: thoughts.length })}</span>
          </li>
        ))}
        {run.votes.length > NAMED && <li class="muted">+{t.number(run.votes.length - NAMED)}</li>}
        {run.sure !== null && run.sure > 0 && !run.receipt && (
          <li class="sure muted">{t('sure', { percent: t.percent(Math.floor(run.sure * 100) / 100) })}</li>
        )}
      </ol>
    </div>
  )
}

/** Votes that there will be, if nothing stops them: not every strategy knows. */
const toCome = (run: Run): number =>
  run.strategy === 'vote' || run.strategy === 'program' ? (run.most ?? 0) : run.begun
