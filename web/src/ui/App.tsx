import { useEffect, useLayoutEffect } from 'preact/hooks'
import { LANGUAGES } from '../i18n'
import { connect, NARROW, openDialog, store, useApp, useT } from '../store/app'
import { stop } from '../store/chat'
import { Chat } from './Chat'
import { Composer, focusMessage, MESSAGE_FIELD } from './Composer'
import { Dialogs } from './Dialogs'
import { useMedia } from './hooks'
import { IconButton } from './icons'
import { ModelSelect } from './Settings'
import { newChat, Sidebar } from './Sidebar'

export function App() {
  const t = useT()
  const lang = useApp((state) => state.lang)
  const theme = useApp((state) => state.theme)
  const sidebar = useApp((state) => state.sidebar)
  const title = useApp((state) => (state.current ? state.conversations[state.current]?.title : undefined))
  const server = useApp((state) => state.server)
  const notice = useApp((state) => state.notice)
  const said = useApp((state) => state.said)
  const narrow = useMedia(NARROW)
  const covered = narrow && sidebar

  useLayoutEffect(() => {
    document.documentElement.lang = LANGUAGES[lang].tag
    document.title = title ? `${title} · ponder` : 'ponder'
  }, [lang, title])
  useLayoutEffect(() => {
    if (theme === 'auto') delete document.documentElement.dataset.theme
    else document.documentElement.dataset.theme = theme
  }, [theme])
  useEffect(() => {
    document.addEventListener('keydown', shortcut)
    if (!matchMedia('(pointer: coarse)').matches) focusMessage()
    return () => document.removeEventListener('keydown', shortcut)
  }, [])

  return (
    <div class={`app ${sidebar ? 'with-sidebar' : ''}`}>
      <a
        class="skip"
        href={`#${MESSAGE_FIELD}`}
        onClick={(event) => {
          event.preventDefault()
          focusMessage()
        }}
      >
        {t('skip')}
      </a>
      {sidebar && <Sidebar />}
      {covered && <div class="cover" onClick={() => store.set({ sidebar: false })} />}
      <div class="stage" inert={covered}>
        <header class="top">
          <IconButton
            icon="menu"
            label={sidebar ? t('hideSidebar') : t('showSidebar')}
            onClick={() => store.set({ sidebar: !sidebar })}
          />
          {!sidebar && <IconButton icon="plus" label={t('newChat')} onClick={newChat} />}
          {title ? (
            <h1 class="top-title" dir="auto">
              {title}
            </h1>
          ) : (
            <span class="top-title" />
          )}
          <ModelSelect label={t('model')} />
          <IconButton icon="settings" label={t('settings')} onClick={() => openDialog({ kind: 'settings' })} />
        </header>
        {server === 'down' && (
          <div class="banner" role="alert">
            <span>{t('serverDown')}</span>
            <button type="button" class="text-button" onClick={() => void connect()}>
              {t('retry')}
            </button>
          </div>
        )}
        <Chat />
        <Composer />
      </div>
      <Dialogs />
      <div class={notice ? 'notice' : 'hidden'} role="status">
        {notice}
      </div>
      <div class="hidden" role="status" aria-live="polite">
        {said}
      </div>
    </div>
  )
}

function shortcut(event: KeyboardEvent): void {
  const { dialog, sidebar, current } = store.get()
  const control = event.ctrlKey || event.metaKey
  if (control && !event.altKey && event.key.toLowerCase() === 'k') {
    event.preventDefault()
    openDialog(null)
    newChat()
  } else if (control && event.key === '/') {
    event.preventDefault()
    openDialog(dialog?.kind === 'help' ? null : { kind: 'help' })
  } else if (event.key === 'Escape' && !dialog && !event.isComposing) {
    if (sidebar && matchMedia(NARROW).matches) store.set({ sidebar: false })
    else stop(current)
  }
}
