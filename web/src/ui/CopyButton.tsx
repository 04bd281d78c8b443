import { useEffect, useState } from 'preact/hooks'
import { useT } from '../store/app'
import { copyText } from './hooks'
import { IconButton } from './icons'

export function CopyButton({ text }: { text: string }) {
  const t = useT()
  const [done, setDone] = useState(false)
  useEffect(() => {
    if (!done) return
    const timer = setTimeout(() => setDone(false), 1500)
    return () => clearTimeout(timer)
  }, [done])
  return (
    <IconButton
      icon={done ? 'check' : 'copy'}
      label={done ? t('copied') : t('copy')}
      onClick={() => void copyText(text).then(() => setDone(true))}
    />
  )
}
