// Light and dark: what the system says, until the reader chooses. Colours of verdicts come with the run.

const THEME_KEY = "trt-passes-theme";

function storedTheme() {
  try {
    return localStorage.getItem(THEME_KEY);
  } catch {
    return null; // a page opened from disk may have no storage
  }
}

function isDark() {
  const chosen = document.documentElement.dataset.theme;
  return chosen ? chosen === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
}

function useTheme(theme) {
  if (theme) document.documentElement.dataset.theme = theme;
  try {
    if (theme) localStorage.setItem(THEME_KEY, theme);
  } catch {
    // the choice then holds for this page only
  }
}

function toggleTheme() {
  useTheme(isDark() ? "light" : "dark");
}

function installColours(styles) {
  const root = document.documentElement.style;
  for (const [verdict, style] of Object.entries(styles)) {
    const name = verdict || "unjudged";
    root.setProperty(`--${name}-light`, style.fill);
    root.setProperty(`--${name}-dark`, style.dark);
    root.setProperty(`--${name}-line`, style.border);
  }
}

function verdictChip(verdict, text = verdict) {
  return el("span", { class: `chip v-${verdict || "unjudged"}` }, text || "no verdict");
}
