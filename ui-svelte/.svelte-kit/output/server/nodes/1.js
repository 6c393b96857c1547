

export const index = 1;
export const imports = ["_app/immutable/nodes/1.Dov7K_RI.js","_app/immutable/chunks/xihTtKlq.js","_app/immutable/chunks/B_HS6RC5.js","_app/immutable/chunks/B4BpQbcO.js"];
export const stylesheets = [];
export const fonts = [];
