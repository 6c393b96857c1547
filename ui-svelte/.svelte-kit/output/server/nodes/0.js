

export const index = 0;
export const universal = {
  "ssr": false,
  "prerender": false
};
export const universal_id = "src/routes/+layout.ts";
export const imports = ["_app/immutable/nodes/0.H5fX2tp9.js","_app/immutable/chunks/xihTtKlq.js","_app/immutable/chunks/B_HS6RC5.js"];
export const stylesheets = ["_app/immutable/assets/0.Cpgqzfvd.css"];
export const fonts = ["_app/immutable/assets/geist-cyrillic-ext-wght-normal.DjL33-gN.woff2","_app/immutable/assets/geist-cyrillic-wght-normal.BEAKL7Jp.woff2","_app/immutable/assets/geist-vietnamese-wght-normal.6IgcOCM7.woff2","_app/immutable/assets/geist-latin-ext-wght-normal.DC-KSUi6.woff2","_app/immutable/assets/geist-latin-wght-normal.BgDaEnEv.woff2","_app/immutable/assets/geist-mono-cyrillic-ext-wght-normal.X_5orZeX.woff2","_app/immutable/assets/geist-mono-cyrillic-wght-normal.DiZS0aHC.woff2","_app/immutable/assets/geist-mono-symbols2-wght-normal.CO5SzqOn.woff2","_app/immutable/assets/geist-mono-vietnamese-wght-normal.DadHysG0.woff2","_app/immutable/assets/geist-mono-latin-ext-wght-normal.Bwz-egvJ.woff2","_app/immutable/assets/geist-mono-latin-wght-normal.XN7g48iV.woff2"];
