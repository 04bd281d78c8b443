import { useId } from 'preact/hooks'
import { LANGUAGES, isLang } from '../i18n'
import { DEFAULTS, type NumberField, parseNumber, RANGES, SAMPLING_FIELDS } from '../model/settings'
import { openDialog, setLang, setSettings, setTheme, type Theme, useApp, useT } from '../store/app'
import { Dialog } from './Dialog'
import { WayFields, wayHint } from './Way'

export function SettingsDialog() {
  const t = useT()
  const settings = useApp((state) => state.settings)
  const id = useId()
  return (
    <Dialog title={t('settings')} onClose={() => openDialog(null)} class="settings">
      <div class="field">
        <label for={`${id}-model`}>{t('model')}</label>
        <ModelSelect id={`${id}-model`} />
      </div>
      <div class="field">
        <label for={`${id}-system`}>{t('system')}</label>
        <textarea
          id={`${id}-system`}
          rows={3}
          dir="auto"
          value={settings.system}
          onInput={(event) => setSettings({ system: event.currentTarget.value })}
        />
      </div>
      <fieldset>
        <legend>{t('reasoning')}</legend>
        <p class="hint">
          {wayHint(t, settings.way)} {settings.way !== 'plain' && t('wayHint')}
        </p>
        <div class="numbers ways">
          <WayFields />
          {settings.way !== 'plain' && <NumberInput field="deadline" value={settings.deadline} />}
        </div>
        {settings.way !== 'plain' && (
          <label class="check">
            <input
              type="checkbox"
              checked={settings.settle}
              onChange={(event) => setSettings({ settle: event.currentTarget.checked })}
            />
            <span>
              {t('settle')}
              <span class="hint">{t('settleHint')}</span>
            </span>
          </label>
        )}
      </fieldset>
      <fieldset>
        <legend>{t('sampling')}</legend>
        <p class="hint">{t('samplingHint')}</p>
        <div class="numbers">
          {SAMPLING_FIELDS.map((field) => (
            <NumberInput key={field} field={field} value={settings[field]} />
          ))}
        </div>
      </fieldset>
      <label class="check">
        <input
          type="checkbox"
          checked={settings.logprobs}
          onChange={(event) => setSettings({ logprobs: event.currentTarget.checked })}
        />
        <span>
          {t('logprobs')}
          <span class="hint">{t('logprobsHint')}</span>
        </span>
      </label>
      <fieldset>
        <legend>{t('interface')}</legend>
        <div class="numbers">
          <div class="field">
            <label for={`${id}-lang`}>{t('language')}</label>
            <LanguageSelect id={`${id}-lang`} />
          </div>
          <div class="field">
            <label for={`${id}-theme`}>{t('theme')}</label>
            <ThemeSelect id={`${id}-theme`} />
          </div>
        </div>
      </fieldset>
      <div class="row end">
        <button type="button" class="button quiet" onClick={() => openDialog({ kind: 'key', why: null })}>
          {t('apiKey')} …
        </button>
        <button type="button" class="button quiet" onClick={() => setSettings(DEFAULTS)}>
          {t('reset')}
        </button>
        <button type="button" class="button primary" onClick={() => openDialog(null)}>
          {t('close')}
        </button>
      </div>
    </Dialog>
  )
}

function NumberInput({ field, value }: { field: NumberField; value: number | null }) {
  const t = useT()
  const id = useId()
  const { min, max, step } = RANGES[field]
  return (
    <div class="field">
      <label for={id}>{t(field)}</label>
      <input
        id={id}
        type="number"
        inputMode="decimal"
        min={min}
        max={max}
        step={step}
        placeholder={field === 'deadline' ? t('noDeadline') : t('automatic')}
        value={value ?? ''}
        onChange={(event) => {
          const number = parseNumber(field, event.currentTarget.value)
          event.currentTarget.value = number === null ? '' : String(number)
          setSettings({ [field]: number })
        }}
      />
    </div>
  )
}

export function ModelSelect({ id, label }: { id?: string; label?: string }) {
  const t = useT()
  const models = useApp((state) => state.models)
  const model = useApp((state) => state.settings.model)
  return (
    <select
      id={id}
      aria-label={label}
      class={label ? 'model' : undefined}
      value={model}
      onChange={(event) => setSettings({ model: event.currentTarget.value })}
    >
      <option value="">{models.length === 1 ? models[0] : t('modelDefault')}</option>
      {models.length > 1 && models.map((name) => <option key={name} value={name}>{name}</option>)}
    </select>
  )
}

export function LanguageSelect({ id, label }: { id?: string; label?: string }) {
  const lang = useApp((state) => state.lang)
  return (
    <select
      id={id}
      aria-label={label}
      value={lang}
      onChange={(event) => isLang(event.currentTarget.value) && setLang(event.currentTarget.value)}
    >
      {Object.entries(LANGUAGES).map(([code, { name, tag }]) => (
        <option key={code} value={code} lang={tag}>
          {name}
        </option>
      ))}
    </select>
  )
}

function ThemeSelect({ id }: { id: string }) {
  const t = useT()
  const theme = useApp((state) => state.theme)
  return (
    <select id={id} value={theme} onChange={(event) => setTheme(event.currentTarget.value as Theme)}>
      <option value="auto">{t('themeAuto')}</option>
      <option value="light">{t('themeLight')}</option>
      <option value="dark">{t('themeDark')}</option>
    </select>
  )
}
