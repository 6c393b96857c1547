import type { HandleClientError } from '@sveltejs/kit';

export const handleError: HandleClientError = ({ error, status, message }) => {
	// An address that does not exist is shown by the page; only our own mistakes are told.
	if (status !== 404) console.error(error);
	return { message };
};
