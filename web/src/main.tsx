import { render } from 'preact'
import { loadExtras } from './markdown/render'
import { begin } from './store/app'
import './style/base.css'
import './style/layout.css'
import './style/chat.css'
import './style/run.css'
import './style/markdown.css'
import { App } from './ui/App'

render(<App />, document.getElementById('app')!)
void begin()

// What the first answer will need, once the page stands.
const idle = window.requestIdleCallback ?? ((act: () => void) => setTimeout(act, 300))
idle(() => void loadExtras().catch(() => {}))
