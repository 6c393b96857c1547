import "../../chunks/server.js";
// src/routes/+page.svelte
function _page($$renderer) {
	$$renderer.push(`<h1>Overview</h1>`);
}
export { _page as default };
