import { ApiError, listModels } from '../api/client'
import { isLang, type Lang, pickLanguage, type Translator, translator } from '../i18n'
import { readSettings, type Settings } from '../model/settings'
import { exportText, importText } from '../model/transfer'
import { newId } from '../model/id'
import { finish } from '../model/stream'
import type { Conversation } from '../model/types'
import * as db from './db'
import { createStore, type Store, useStore } from './store'

export type Theme = 'auto' | 'light' | 'dark'

export type Dialog =
  | { kind: 'settings' }
  | { kind: 'help' }
  | { kind: 'key'; why: 'wanted' | 'wrong' | null }
  | { kind: 'rename'; id: string }
  | { kind: 'remove'; id: string }

export interface State {
  conversations: Record<string, Conversation>
  /** The conversation shown; `null`: one that has not begun. */
  current: string | null
  /** Conversations in which an answer is being written, and how to stop it. */
  running: Record<string, AbortController>
  settings: Settings
  key: string
  models: string[]
  server: 'unknown' | 'up' | 'down'
  lang: Lang
  t: Translator
  theme: Theme
  dialog: Dialog | null
  sidebar: boolean
  /** A passing remark. */
  notice: string | null
  /** What screen readers say next. */
  said: string
}

const read = (storage: Storage, name: string): string | null => {
  try {
    return storage.getItem(name)
  } catch {
    return null
  }
}

const write = (storage: Storage, name: string, value: string): void => {
  try {
    storage.setItem(name, value)
  } catch {
    // a browser that keeps nothing: it holds until the page closes
  }
}

function storedSettings(): Settings {
  try {
    return readSettings(JSON.parse(read(localStorage, 'ponder.settings') ?? 'null'))
  } catch {
    return readSettings(null)
  }
}

const storedLang = read(localStorage, 'ponder.lang')
const lang = isLang(storedLang) ? storedLang : pickLanguage(navigator.languages)
const storedTheme = read(localStorage, 'ponder.theme')

export const NARROW = '(max-width: 52rem)'

export const store: Store<State> = createStore<State>({
  conversations: {},
  current: null,
  running: {},
  settings: storedSettings(),
  key: read(sessionStorage, 'ponder.key') ?? '',
  models: [],
  server: 'unknown',
  lang,
  t: translator(lang),
  theme: storedTheme === 'light' || storedTheme === 'dark' ? storedTheme : 'auto',
  dialog: null,
  sidebar: !matchMedia(NARROW).matches,
  notice: null,
  said: '',
})

export const useApp = <S>(select: (state: State) => S): S => useStore(store, select)
export const useT = (): Translator => useApp((state) => state.t)

export function setSettings(patch: Partial<Settings>): void {
  const settings = { ...store.get().settings, ...patch }
  store.set({ settings })
  write(localStorage, 'ponder.settings', JSON.stringify(settings))
}

export function setLang(lang: Lang): void {
  store.set({ lang, t: translator(lang) })
  write(localStorage, 'ponder.lang', lang)
}

export function setTheme(theme: Theme): void {
  store.set({ theme })
  write(localStorage, 'ponder.theme', theme)
}

export function setKey(key: string): void {
  store.set({ key })
  write(sessionStorage, 'ponder.key', key)
}

let noticeTimer = 0
export function notify(notice: string): void {
  store.set({ notice })
  clearTimeout(noticeTimer)
  noticeTimer = window.setTimeout(() => store.set({ notice: null }), 6000)
}

export const say = (said: string): void => store.set({ said })
export const openDialog = (dialog: Dialog | null): void => store.set({ dialog })

// --- conversations -----------------------------------------------------------------------------

const channel = 'BroadcastChannel' in window ? new BroadcastChannel('ponder') : null
const dirty = new Set<string>()
let saveTimer = 0
let storageFailed = false

function storageFailure(): void {
  if (!storageFailed) notify(store.get().t('storageFailed'))
  storageFailed = true
}

/** Puts a conversation in place of what it was, and keeps it. */
export function put(conversation: Conversation): void {
  store.set({ conversations: { ...store.get().conversations, [conversation.id]: conversation } })
  dirty.add(conversation.id)
  saveTimer ||= window.setTimeout(flush, 800)
}

/** Writes what has changed to the browser's storage. */
export async function flush(): Promise<void> {
  clearTimeout(saveTimer)
  saveTimer = 0
  const ids = [...dirty]
  dirty.clear()
  for (const id of ids) {
    const conversation = store.get().conversations[id]
    if (!conversation) continue
    try {
      await db.save(conversation)
      channel?.postMessage(id)
    } catch {
      storageFailure()
    }
  }
}

export function show(id: string | null): void {
  store.set({ current: id, ...(matchMedia(NARROW).matches ? { sidebar: false } : {}) })
  const hash = id ? `#${id}` : ''
  if (location.hash !== hash) history.pushState(null, '', hash || location.pathname + location.search)
}

export async function removeConversation(id: string): Promise<void> {
  const { conversations, running, current } = store.get()
  running[id]?.abort()
  const { [id]: _, ...rest } = conversations
  store.set({ conversations: rest })
  if (current === id) show(null)
  dirty.delete(id)
  await db.remove(id).catch(storageFailure)
  channel?.postMessage(id)
}

export function rename(id: string, title: string): void {
  const conversation = store.get().conversations[id]
  if (conversation && title.trim()) put({ ...conversation, title: title.trim().slice(0, 200) })
}

/** An answer that was being written when the page closed will not be finished. */
function settle(conversation: Conversation): Conversation {
  const nodes = Object.fromEntries(
    Object.entries(conversation.nodes).map(([id, node]) => [
      id,
      node.role === 'assistant' && node.status === 'running' ? finish(node, 'stopped') : node,
    ]),
  )
  return { ...conversation, nodes }
}

function fromHash(): void {
  const id = location.hash.slice(1)
  store.set({ current: Object.hasOwn(store.get().conversations, id) ? id : null })
}

export async function begin(): Promise<void> {
  try {
    const all = await db.loadAll()
    const stored = Object.fromEntries(all.map((conversation) => [conversation.id, settle(conversation)]))
    store.set({ conversations: { ...stored, ...store.get().conversations } })
  } catch {
    storageFailure()
  }
  if (location.hash) fromHash()
  window.addEventListener('hashchange', fromHash)
  window.addEventListener('popstate', fromHash)
  window.addEventListener('pagehide', () => void flush())
  document.addEventListener('visibilitychange', () => document.hidden && void flush())
  channel?.addEventListener('message', (event: MessageEvent<unknown>) => void changedElsewhere(event.data))
  await connect()
}

/** Another tab changed a conversation. */
async function changedElsewhere(id: unknown): Promise<void> {
  if (typeof id !== 'string' || store.get().running[id] || dirty.has(id)) return
  const conversation = await db.load(id).catch(() => undefined)
  const { [id]: _, ...rest } = store.get().conversations
  store.set({ conversations: conversation ? { ...rest, [id]: conversation } : rest })
  if (!conversation && store.get().current === id) show(null)
}

// --- the server --------------------------------------------------------------------------------

let retryTimer = 0
let retryDelay = 1000

/** Asks the server for its models; while it does not answer, again and again. */
export async function connect(): Promise<void> {
  clearTimeout(retryTimer)
  const { key, t } = store.get()
  try {
    const models = await listModels(key)
    const wasDown = store.get().server === 'down'
    retryDelay = 1000
    store.set({ models, server: 'up' })
    if (wasDown) notify(t('serverBack'))
    const { model } = store.get().settings
    if (model && models.length && !models.includes(model)) setSettings({ model: '' })
  } catch (error) {
    if (error instanceof ApiError && error.fault === 'unauthorized') {
      store.set({ server: 'up' })
      openDialog({ kind: 'key', why: key ? 'wrong' : 'wanted' })
    } else if (error instanceof ApiError && error.fault === 'network') serverLost()
  }
}

export function serverLost(): void {
  store.set({ server: 'down' })
  clearTimeout(retryTimer)
  retryTimer = window.setTimeout(() => void connect(), retryDelay)
  retryDelay = Math.min(retryDelay * 2, 15_000)
}

// --- files -------------------------------------------------------------------------------------

export function exportConversations(ids: string[]): void {
  const { conversations } = store.get()
  const chosen = ids.map((id) => conversations[id]).filter((conversation) => conversation !== undefined)
  const link = document.createElement('a')
  link.href = URL.createObjectURL(new Blob([exportText(chosen)], { type: 'application/json' }))
  const name = chosen.length === 1 ? chosen[0]!.title.replace(/[^\p{L}\p{M}\p{N}]+/gu, '-').slice(0, 40) : 'conversations'
  link.download = `ponder-${name || 'conversation'}.json`
  link.click()
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000)
}

export async function importConversations(file: File): Promise<void> {
  const { t } = store.get()
  try {
    const imported = importText(await file.text())
    for (const conversation of imported) {
      const taken = store.get().conversations[conversation.id] !== undefined
      put(taken ? { ...conversation, id: newId() } : conversation)
    }
    notify(t('imported', { n: imported.length }))
  } catch {
    notify(t('importFailed'))
  }
}
