import type { HandleClientError } from '@sveltejs/kit';
import { answers } from '$lib/api/client';

/** How browsers say that a part of the application could not be fetched. */
const PART = /dynamically imported module|module script|preload/i;

/** A page that was loaded anew and still lacks a part is shown as it is. */
const AGAIN = 'axon.loaded-anew';
const AGAIN_MS = 10_000;

export const handleError: HandleClientError = async ({ error, event, status, message }) => {
	if (error instanceof Error && PART.test(error.message)) {
		// The launcher is of another build now, or asks who is there: its own answer settles either.
		const last = Number(sessionStorage.getItem(AGAIN));
		if (Date.now() - last > AGAIN_MS && (await answers())) {
			sessionStorage.setItem(AGAIN, String(Date.now()));
			location.assign(event.url);
		}
		return { message: 'A part of this page could not be fetched' };
	}
	// An address that does not exist is shown by the page; only our own mistakes are told.
	if (status !== 404) console.error(error);
	return { message };
};
