// One page that runs in the browser: everything it shows is live.
export const ssr = false;
export const prerender = false;
