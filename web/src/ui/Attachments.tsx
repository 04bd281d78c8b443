import type { Attachment } from '../model/types'
import { useT } from '../store/app'
import { IconButton } from './icons'

/** Attached files by name; their text unfolds. */
export function Attachments({ files, onRemove }: { files: Attachment[]; onRemove?: (at: number) => void }) {
  const t = useT()
  if (files.length === 0) return null
  return (
    <ul class="attachments" aria-label={t('attached')}>
      {files.map(({ name, text }, at) => (
        <li key={at}>
          {onRemove ? (
            <span class="file">{name}</span>
          ) : (
            <details>
              <summary class="file">{name}</summary>
              <pre tabIndex={0}>{text}</pre>
            </details>
          )}
          {onRemove && <IconButton icon="close" size={14} label={t('detach', { name })} onClick={() => onRemove(at)} />}
        </li>
      ))}
    </ul>
  )
}
