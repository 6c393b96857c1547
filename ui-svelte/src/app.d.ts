declare global {}
export {};
