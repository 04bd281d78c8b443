import { step } from '../model/tree'
import { put, store, useT } from '../store/app'
import { IconButton } from './icons'

/** Arrows between the siblings of a message. */
export function Branches({ conversation, id, ids }: { conversation: string; id: string; ids: string[] }) {
  const t = useT()
  if (ids.length < 2) return null
  const at = ids.indexOf(id)
  const go = (by: number): void => {
    const from = store.get().conversations[conversation]
    if (from) put(step(from, id, by))
  }
  return (
    <span class="branches" role="group" aria-label={t('branches')}>
      <IconButton icon="left" size={16} label={t('previousBranch')} disabled={at <= 0} onClick={() => go(-1)} />
      <span class="branch-count" aria-label={t('branchOf', { n: at + 1, total: ids.length })} role="img">
        {t.number(at + 1)}/{t.number(ids.length)}
      </span>
      <IconButton icon="right" size={16} label={t('nextBranch')} disabled={at >= ids.length - 1} onClick={() => go(1)} />
    </span>
  )
}
