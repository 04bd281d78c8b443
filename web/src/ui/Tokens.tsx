import { memo } from 'preact/compat'
import { useId, useRef, useState } from 'preact/hooks'
import type { TokenProb } from '../model/types'
import { useT } from '../store/app'

/** From sure to surprised. */
const LIMITS = [0.9, 0.7, 0.5, 0.25]
const level = (p: number): number => LIMITS.filter((limit) => p < limit).length

/** White space made visible. */
const visible = (token: string): string =>
  token.replace(/ /g, '␣').replace(/\n/g, '⏎').replace(/\t/g, '⇥') || '∅'

const Token = memo(function Token({ token, at, active, label }: { token: TokenProb; at: number; active: boolean; label: string }) {
  const [text, logprob] = token
  return (
    <span class={`token p${level(Math.exp(logprob))}`} role="button" data-at={at} tabIndex={active ? 0 : -1} aria-label={label}>
      {text.includes('\n') ? text.replace(/\n/g, '⏎\n') : text || '∅'}
    </span>
  )
})

interface Shown {
  at: number
  left: number
  top: number
  above: boolean
}

/** Tokens coloured by probability; the one under the pointer or the focus shows its alternatives. */
export function Tokens({ tokens }: { tokens: TokenProb[] }) {
  const t = useT()
  const id = useId()
  const [active, setActive] = useState(0)
  const [shown, setShown] = useState<Shown | null>(null)
  const root = useRef<HTMLDivElement>(null)

  const show = (target: EventTarget | null): void => {
    const element = target instanceof Element ? target.closest<HTMLElement>('[data-at]') : null
    if (!element) return setShown(null)
    const box = element.getClientRects()[0] ?? element.getBoundingClientRect()
    const above = box.bottom + 240 > innerHeight && box.top > 240
    const left = Math.max(8, Math.min(box.left, innerWidth - 240))
    setShown({ at: Number(element.dataset.at), left, top: above ? box.top : box.bottom, above })
  }
  const move = (event: KeyboardEvent): void => {
    const last = tokens.length - 1
    const to = { ArrowRight: active + 1, ArrowLeft: active - 1, Home: 0, End: last }[event.key]
    if (event.key === 'Escape') setShown(null)
    if (to === undefined) return
    event.preventDefault()
    const next = Math.max(0, Math.min(last, to))
    setActive(next)
    root.current?.querySelector<HTMLElement>(`[data-at="${next}"]`)?.focus()
  }
  const token = shown && tokens[shown.at]
  return (
    <div class="tokens">
      <p class="legend" aria-hidden="true">
        <span>{t('legend')}</span>
        {[...LIMITS, 0].map((limit, at) => (
          <span key={limit} class={`token p${at}`}>{`≥ ${t.percent(limit)}`}</span>
        ))}
      </p>
      <div
        ref={root}
        class="token-text"
        role="group"
        aria-label={t('probabilities')}
        dir="auto"
        onKeyDown={move}
        onPointerOver={(event) => show(event.target)}
        onPointerLeave={() => setShown(null)}
        onFocusIn={(event) => {
          show(event.target)
          const at = (event.target as HTMLElement).dataset.at
          if (at !== undefined) setActive(Number(at))
        }}
        onFocusOut={() => setShown(null)}
        aria-describedby={shown ? id : undefined}
      >
        {tokens.map((token, at) => (
          <Token
            key={at}
            token={token}
            at={at}
            active={at === active}
            label={t('probabilityOf', { token: visible(token[0]), percent: t.percent(Math.exp(token[1])) })}
          />
        ))}
      </div>
      {token && (
        <div
          id={id}
          class={`alternatives ${shown.above ? 'above' : ''}`}
          role="tooltip"
          style={{ left: `${shown.left}px`, top: `${shown.top}px` }}
        >
          <table>
            <tbody>
              {alternatives(token).map(([text, logprob], at) => (
                <tr key={at} class={text === token[0] ? 'own' : ''}>
                  <td class="alternative">{visible(text)}</td>
                  <td class="share">
                    <span style={{ width: `${Math.exp(logprob) * 100}%` }} />
                  </td>
                  <td class="percent">{t.percent(Math.exp(logprob))}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
    </div>
  )
}

/** The token and what else could have stood there, likeliest first. */
function alternatives([text, logprob, top]: TokenProb): [string, number][] {
  const all: [string, number][] = top.some(([other]) => other === text) ? top : [...top, [text, logprob]]
  return [...all].sort((a, b) => b[1] - a[1])
}
