import { useEffect, useId, useRef, useState } from 'preact/hooks'
import { readAttachment } from '../model/attachments'
import { BUDGETS, budgetStop } from '../model/settings'
import { path } from '../model/tree'
import type { Attachment } from '../model/types'
import { notify, setSettings, store, useApp, useT } from '../store/app'
import { send, stop } from '../store/chat'
import { Attachments } from './Attachments'
import { useGrowing } from './hooks'
import { Icon, IconButton } from './icons'
import { WayControl } from './Way'

interface Draft {
  text: string
  files: Attachment[]
}

const EMPTY: Draft = { text: '', files: [] }

export const MESSAGE_FIELD = 'message'
export const focusMessage = (): void => document.getElementById(MESSAGE_FIELD)?.focus()

export function Composer() {
  const t = useT()
  const current = useApp((state) => state.current)
  const busy = useApp((state) => current !== null && state.running[current] !== undefined)
  const [drafts, setDrafts] = useState<Record<string, Draft>>({})
  const [dropping, setDropping] = useState(false)
  const picker = useRef<HTMLInputElement>(null)
  const area = useRef<HTMLTextAreaElement>(null)
  const draft = drafts[current ?? ''] ?? EMPTY
  const setDraft = (change: (draft: Draft) => Draft): void =>
    setDrafts((all) => ({ ...all, [current ?? '']: change(all[current ?? ''] ?? EMPTY) }))

  useGrowing(area, draft.text)

  const attach = async (files: Iterable<File>): Promise<void> => {
    for (const file of [...files]) {
      const read = await readAttachment(file)
      if (read === 'binary') notify(t('refusedBinary', { name: file.name }))
      else if (read === 'large') notify(t('refusedLarge', { name: file.name }))
      else setDraft((draft) => ({ ...draft, files: [...draft.files, read] }))
    }
  }
  const attachNow = useRef(attach)
  attachNow.current = attach

  useEffect(() => {
    const hasFiles = (event: DragEvent): boolean => event.dataTransfer?.types.includes('Files') ?? false
    const over = (event: DragEvent): void => {
      if (!hasFiles(event)) return
      event.preventDefault()
      setDropping(true)
    }
    const leave = (event: DragEvent): void => {
      if (event.relatedTarget === null) setDropping(false)
    }
    const drop = (event: DragEvent): void => {
      setDropping(false)
      if (!hasFiles(event)) return
      event.preventDefault()
      void attachNow.current(event.dataTransfer!.files)
    }
    window.addEventListener('dragover', over)
    window.addEventListener('dragleave', leave)
    window.addEventListener('drop', drop)
    return () => {
      window.removeEventListener('dragover', over)
      window.removeEventListener('dragleave', leave)
      window.removeEventListener('drop', drop)
    }
  }, [])

  const ready = !busy && (draft.text.trim() !== '' || draft.files.length > 0)
  const submit = (): void => {
    if (!ready) return
    const conversation = current === null ? undefined : store.get().conversations[current]
    const parent = (conversation && path(conversation).at(-1)?.id) ?? null
    setDraft(() => EMPTY)
    send(current, parent, draft.text, draft.files)
  }

  return (
    <form
      class="composer"
      aria-label={t('question')}
      onSubmit={(event) => {
        event.preventDefault()
        submit()
      }}
    >
      <div class="composer-box">
        <Attachments
          files={draft.files}
          onRemove={(at) => setDraft((draft) => ({ ...draft, files: draft.files.filter((_, index) => index !== at) }))}
        />
        <textarea
          id={MESSAGE_FIELD}
          ref={area}
          class="growing"
          rows={1}
          dir="auto"
          aria-label={t('question')}
          placeholder={t('placeholder')}
          value={draft.text}
          onInput={(event) => {
            const text = event.currentTarget.value
            setDraft((draft) => ({ ...draft, text }))
          }}
          onKeyDown={(event) => {
            if (event.key === 'Enter' && !event.shiftKey && !event.isComposing) {
              event.preventDefault()
              submit()
            }
          }}
          onPaste={(event) => {
            const files = event.clipboardData?.files
            if (files?.length) {
              event.preventDefault()
              void attach(files)
            }
          }}
        />
        <div class="composer-row">
          <IconButton icon="clip" label={t('attach')} onClick={() => picker.current?.click()} />
          <input
            ref={picker}
            type="file"
            multiple
            hidden
            tabIndex={-1}
            aria-hidden="true"
            onChange={(event) => {
              void attach(event.currentTarget.files ?? [])
              event.currentTarget.value = ''
            }}
          />
          <WayControl />
          <BudgetSlider />
          {busy ? (
            <button type="button" class="send stop" aria-label={t('stop')} title={`${t('stop')} (Esc)`} onClick={() => stop(current)}>
              <Icon name="stop" />
            </button>
          ) : (
            <button type="submit" class="send" aria-label={t('send')} title={t('send')} disabled={!ready}>
              <Icon name="send" />
            </button>
          )}
        </div>
      </div>
      {dropping && (
        <div class="drop" aria-hidden="true">
          {t('dropHere')}
        </div>
      )}
    </form>
  )
}

function BudgetSlider() {
  const t = useT()
  const id = useId()
  const budget = useApp((state) => state.settings.budget)
  const text =
    budget === null ? t('budgetUnlimited') : budget === 0 ? t('budgetNone') : t('budgetTokens', { n: budget })
  const stop = budgetStop(budget)
  return (
    <div class="budget">
      <label for={id}>{t('budget')}</label>
      <input
        id={id}
        type="range"
        min={0}
        max={BUDGETS.length - 1}
        step={1}
        value={stop}
        style={{ '--filled': `${(stop / (BUDGETS.length - 1)) * 100}%` }}
        aria-label={t('budgetLabel')}
        aria-valuetext={text}
        onInput={(event) => setSettings({ budget: BUDGETS[Number(event.currentTarget.value)] ?? null })}
      />
      <output for={id}>{text}</output>
    </div>
  )
}
