// Before the first paint: the theme that was chosen, if one was.
try {
  const theme = localStorage.getItem('ponder.theme')
  if (theme === 'light' || theme === 'dark') document.documentElement.dataset.theme = theme
} catch {
  // storage is closed to this page
}
