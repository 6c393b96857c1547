// Before the first paint: the theme that was chosen, or the system's.
(() => {
	let chosen = null;
	try {
		chosen = localStorage.getItem('axon.theme');
	} catch {
		// Without storage the system's theme is used.
	}
	const dark =
		chosen === 'dark' || (chosen !== 'light' && matchMedia('(prefers-color-scheme: dark)').matches);
	document.documentElement.classList.toggle('dark', dark);
})();
