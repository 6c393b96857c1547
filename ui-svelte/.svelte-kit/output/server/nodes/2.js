

export const index = 2;
export const imports = ["_app/immutable/nodes/2.B5cQa5YF.js","_app/immutable/chunks/xihTtKlq.js","_app/immutable/chunks/B_HS6RC5.js"];
export const stylesheets = [];
export const fonts = [];
