import { useMemo, useRef, useState } from 'preact/hooks'
import { withAttachments } from '../model/attachments'
import type { Conversation } from '../model/types'
import {
  exportConversations,
  importConversations,
  openDialog,
  setTheme,
  show,
  store,
  type Theme,
  useApp,
  useT,
} from '../store/app'
import { focusMessage } from './Composer'
import { Icon, IconButton, type IconName } from './icons'
import { LanguageSelect } from './Settings'

export function newChat(): void {
  show(null)
  requestAnimationFrame(focusMessage)
}

/** Whether a conversation has all the words, anywhere. */
function matches(conversation: Conversation, words: string[]): boolean {
  if (words.length === 0) return true
  const texts = [conversation.title]
  for (const node of Object.values(conversation.nodes)) {
    if (node.role === 'user') texts.push(withAttachments(node.text, node.attachments))
    else texts.push(node.answer.content)
  }
  const all = texts.join('\n').toLocaleLowerCase()
  return words.every((word) => all.includes(word))
}

export function Sidebar() {
  const t = useT()
  const conversations = useApp((state) => state.conversations)
  const current = useApp((state) => state.current)
  const running = useApp((state) => state.running)
  const [query, setQuery] = useState('')
  const picker = useRef<HTMLInputElement>(null)

  const list = useMemo(() => {
    const words = query.toLocaleLowerCase().split(/\s+/).filter(Boolean)
    return Object.values(conversations)
      .filter((conversation) => matches(conversation, words))
      .sort((a, b) => b.updatedAt - a.updatedAt)
  }, [conversations, query])

  return (
    <nav class="sidebar" aria-label={t('conversations')}>
      <div class="sidebar-head">
        <span class="wordmark">ponder</span>
        <IconButton icon="close" class="only-narrow" label={t('hideSidebar')} onClick={() => store.set({ sidebar: false })} />
      </div>
      <button type="button" class="new-chat" onClick={newChat}>
        <Icon name="plus" size={16} />
        {t('newChat')}
      </button>
      <input
        type="search"
        class="search"
        placeholder={t('search')}
        aria-label={t('search')}
        value={query}
        onInput={(event) => setQuery(event.currentTarget.value)}
      />
      {list.length === 0 ? (
        <p class="muted sidebar-empty">{query ? t('noMatches') : t('noConversations')}</p>
      ) : (
        <ul class="conversations">
          {list.map(({ id, title }) => {
            const name = title || t('untitled')
            return (
              <li key={id} class={id === current ? 'current' : ''}>
                <button type="button" class="conversation" aria-current={id === current ? 'true' : undefined} onClick={() => show(id)} title={name}>
                  {running[id] && <span class="pulse" aria-hidden="true" />}
                  <span class="conversation-title" dir="auto">
                    {name}
                  </span>
                </button>
                <span class="conversation-actions" role="group" aria-label={t('more', { title: name })}>
                  <IconButton icon="edit" size={15} label={t('rename')} onClick={() => openDialog({ kind: 'rename', id })} />
                  <IconButton icon="download" size={15} label={t('export')} onClick={() => exportConversations([id])} />
                  <IconButton icon="trash" size={15} label={t('remove')} onClick={() => openDialog({ kind: 'remove', id })} />
                </span>
              </li>
            )
          })}
        </ul>
      )}
      <div class="sidebar-foot">
        <div class="row">
          <button type="button" class="text-button" onClick={() => picker.current?.click()}>
            <Icon name="upload" size={15} />
            {t('import')}
          </button>
          <button
            type="button"
            class="text-button"
            disabled={Object.keys(conversations).length === 0}
            onClick={() => exportConversations(Object.keys(conversations))}
          >
            <Icon name="download" size={15} />
            {t('exportAll')}
          </button>
          <input
            ref={picker}
            type="file"
            accept="application/json,.json"
            hidden
            tabIndex={-1}
            aria-hidden="true"
            onChange={(event) => {
              const file = event.currentTarget.files?.[0]
              if (file) void importConversations(file)
              event.currentTarget.value = ''
            }}
          />
        </div>
        <div class="row">
          <LanguageSelect label={t('language')} />
          <ThemeButton />
          <IconButton icon="help" label={t('shortcuts')} onClick={() => openDialog({ kind: 'help' })} />
        </div>
      </div>
    </nav>
  )
}

const NEXT: Record<Theme, Theme> = { auto: 'light', light: 'dark', dark: 'auto' }
const THEME_ICON: Record<Theme, IconName> = { auto: 'auto', light: 'sun', dark: 'moon' }

function ThemeButton() {
  const t = useT()
  const theme = useApp((state) => state.theme)
  const name = { auto: t('themeAuto'), light: t('themeLight'), dark: t('themeDark') }[theme]
  return <IconButton icon={THEME_ICON[theme]} label={`${t('theme')}: ${name}`} onClick={() => setTheme(NEXT[theme])} />
}
