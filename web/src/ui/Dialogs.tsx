import { useId, useState } from 'preact/hooks'
import { connect, openDialog, removeConversation, rename, setKey, store, useApp, useT } from '../store/app'
import { retryUnauthorized } from '../store/chat'
import { Dialog } from './Dialog'
import { onMac } from './hooks'
import { SettingsDialog } from './Settings'

const close = (): void => openDialog(null)

export function Dialogs() {
  const dialog = useApp((state) => state.dialog)
  switch (dialog?.kind) {
    case 'settings':
      return <SettingsDialog />
    case 'help':
      return <HelpDialog />
    case 'key':
      return <KeyDialog why={dialog.why} />
    case 'rename':
      return <RenameDialog key={dialog.id} id={dialog.id} />
    case 'remove':
      return <RemoveDialog key={dialog.id} id={dialog.id} />
    default:
      return null
  }
}

function HelpDialog() {
  const t = useT()
  const control = onMac ? '⌘' : 'Ctrl'
  const rows: [string[], string][] = [
    [['Enter'], t('keySend')],
    [['Shift', 'Enter'], t('keyNewline')],
    [['Esc'], t('keyStop')],
    [[control, 'K'], t('keyNew')],
    [[control, '/'], t('keyHelp')],
  ]
  return (
    <Dialog title={t('shortcuts')} onClose={close}>
      <dl class="keys">
        {rows.map(([keys, text]) => (
          <div key={text}>
            <dt>
              {keys.map((key) => (
                <kbd key={key}>{key}</kbd>
              ))}
            </dt>
            <dd>{text}</dd>
          </div>
        ))}
      </dl>
    </Dialog>
  )
}

function KeyDialog({ why }: { why: 'wanted' | 'wrong' | null }) {
  const t = useT()
  const id = useId()
  const [key, change] = useState(store.get().key)
  const submit = (event: Event): void => {
    event.preventDefault()
    setKey(key.trim())
    close()
    void connect().then(() => {
      if (store.get().dialog === null) retryUnauthorized()
    })
  }
  return (
    <Dialog title={t('apiKey')} onClose={close}>
      <form onSubmit={submit}>
        <div class="field">
          <label for={id}>{t('apiKey')}</label>
          <input
            id={id}
            type="password"
            autocomplete="off"
            data-autofocus
            value={key}
            aria-describedby={`${id}-hint`}
            aria-invalid={why === 'wrong'}
            onInput={(event) => change(event.currentTarget.value)}
          />
          <p class="hint" id={`${id}-hint`}>
            {why === 'wrong' && <strong class="wrong">{t('apiKeyWrong')} </strong>}
            {why === 'wanted' && `${t('errorUnauthorized')} `}
            {t('apiKeyHint')}
          </p>
        </div>
        <div class="row end">
          <button type="button" class="button quiet" onClick={close}>
            {t('cancel')}
          </button>
          <button type="submit" class="button primary">
            {t('useKey')}
          </button>
        </div>
      </form>
    </Dialog>
  )
}

function RenameDialog({ id }: { id: string }) {
  const t = useT()
  const field = useId()
  const [title, change] = useState(store.get().conversations[id]?.title ?? '')
  return (
    <Dialog title={t('rename')} onClose={close}>
      <form
        onSubmit={(event) => {
          event.preventDefault()
          rename(id, title)
          close()
        }}
      >
        <div class="field">
          <label for={field}>{t('title')}</label>
          <input id={field} data-autofocus dir="auto" maxLength={200} value={title} onInput={(event) => change(event.currentTarget.value)} />
        </div>
        <div class="row end">
          <button type="button" class="button quiet" onClick={close}>
            {t('cancel')}
          </button>
          <button type="submit" class="button primary" disabled={!title.trim()}>
            {t('save')}
          </button>
        </div>
      </form>
    </Dialog>
  )
}

function RemoveDialog({ id }: { id: string }) {
  const t = useT()
  const title = useApp((state) => state.conversations[id]?.title) || t('untitled')
  return (
    <Dialog title={t('remove')} onClose={close}>
      <p>{t('removeQuestion', { title })}</p>
      <div class="row end">
        <button type="button" class="button quiet" data-autofocus onClick={close}>
          {t('cancel')}
        </button>
        <button
          type="button"
          class="button danger"
          onClick={() => {
            close()
            void removeConversation(id)
          }}
        >
          {t('remove')}
        </button>
      </div>
    </Dialog>
  )
}
