import { modern } from '../model/legacy'
import type { Conversation } from '../model/types'

/** Conversations in IndexedDB. */

const STORE = 'conversations'
let opened: Promise<IDBDatabase> | null = null

function open(): Promise<IDBDatabase> {
  opened ??= new Promise((resolve, reject) => {
    const request = indexedDB.open('ponder', 1)
    request.onupgradeneeded = () => request.result.createObjectStore(STORE, { keyPath: 'id' })
    request.onerror = () => reject(request.error)
    request.onsuccess = () => {
      const db = request.result
      // A newer page in another tab may want to change the layout.
      db.onversionchange = () => db.close()
      resolve(db)
    }
  })
  return opened
}

async function run<T>(mode: IDBTransactionMode, act: (store: IDBObjectStore) => IDBRequest<T>): Promise<T> {
  const db = await open()
  return new Promise((resolve, reject) => {
    const transaction = db.transaction(STORE, mode)
    const request = act(transaction.objectStore(STORE))
    transaction.oncomplete = () => resolve(request.result)
    transaction.onerror = transaction.onabort = () => reject(transaction.error)
  })
}

export const loadAll = async (): Promise<Conversation[]> =>
  (await run<Conversation[]>('readonly', (store) => store.getAll())).map(modern)
export async function load(id: string): Promise<Conversation | undefined> {
  const conversation = await run<Conversation | undefined>('readonly', (store) => store.get(id))
  return conversation && modern(conversation)
}
export const save = (conversation: Conversation): Promise<unknown> => run('readwrite', (store) => store.put(conversation))
export const remove = (id: string): Promise<unknown> => run('readwrite', (store) => store.delete(id))
