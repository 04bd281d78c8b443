import { useId } from 'preact/hooks'
import type { Translator } from '../i18n'
import type { Key } from '../i18n/en'
import { hasMany, THOUGHTS, thoughtsOf, type Way, WAYS, withThoughts } from '../model/settings'
import { setSettings, store, useApp, useT } from '../store/app'
import { IconButton } from './icons'

const NAMES: Record<Way, Key> = {
  ...{ plain: 'plain', single: 'single', vote: 'vote', auto: 'auto' },
  ...{ revise: 'revise', search: 'searchWay', program: 'program' },
}
const HINTS: Record<Way, Key> = {
  ...{ plain: 'plainHint', single: 'singleHint', vote: 'voteHint', auto: 'autoHint' },
  ...{ revise: 'reviseHint', search: 'searchHint', program: 'programHint' },
}

/** A strategy's name in the reader's language; one that this page does not know keeps its own. */
export const wayName = (t: Translator, way: string): string => (way in NAMES ? t(NAMES[way as Way]) : way || t('thoughts'))
export const wayHint = (t: Translator, way: Way): string => t(HINTS[way])

export function WaySelect({ id, label }: { id?: string; label?: string }) {
  const t = useT()
  const way = useApp((state) => state.settings.way)
  return (
    <select
      id={id}
      aria-label={label}
      title={label && wayHint(t, way)}
      value={way}
      onChange={(event) => setSettings({ way: event.currentTarget.value as Way })}
    >
      {WAYS.map((each) => (
        <option key={each} value={each}>
          {wayName(t, each)}
        </option>
      ))}
    </select>
  )
}

const change = (n: number): void => {
  const { settings } = store.get()
  if (hasMany(settings.way)) setSettings(withThoughts(settings, settings.way, n))
}

/** How to answer the next question, next to its field. */
export function WayControl() {
  const t = useT()
  const settings = useApp((state) => state.settings)
  const n = thoughtsOf(settings)
  const most = hasMany(settings.way) ? THOUGHTS[settings.way].most : 1
  return (
    <div class="way">
      <WaySelect label={t('way')} />
      {n !== null && (
        <span class="count" role="group" aria-label={t('thoughtsLabel')}>
          <IconButton icon="minus" size={14} label={t('fewer')} disabled={n <= 1} onClick={() => change(n - 1)} />
          <output aria-live="polite">{t.number(n)}</output>
          <IconButton icon="plus" size={14} label={t('moreAnswers')} disabled={n >= most} onClick={() => change(n + 1)} />
        </span>
      )}
    </div>
  )
}

/** The same among the settings, with a word on each way. */
export function WayFields() {
  const t = useT()
  const id = useId()
  const settings = useApp((state) => state.settings)
  const n = thoughtsOf(settings)
  return (
    <>
      <div class="field">
        <label for={`${id}-way`}>{t('way')}</label>
        <WaySelect id={`${id}-way`} />
      </div>
      {n !== null && hasMany(settings.way) && (
        <div class="field">
          <label for={`${id}-n`} title={t('thoughtsLabel')}>
            {t('thoughts')}
          </label>
          <input
            id={`${id}-n`}
            type="number"
            inputMode="numeric"
            min={1}
            max={THOUGHTS[settings.way].most}
            value={n}
            onChange={(event) => {
              change(Number(event.currentTarget.value))
              event.currentTarget.value = String(thoughtsOf(store.get().settings) ?? '')
            }}
          />
        </div>
      )}
    </>
  )
}
