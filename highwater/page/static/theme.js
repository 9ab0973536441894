// Airflow stores its theme in the local storage of its origin, which is also ours; "system" means the system's theme.
(() => {
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const apply = () => {
    const wanted = localStorage.getItem("theme") || "system";
    const is_dark = wanted === "dark" || (wanted === "system" && dark.matches);
    document.documentElement.dataset.theme = is_dark ? "dark" : "light";
  };
  apply();
  window.addEventListener("storage", apply);
  dark.addEventListener("change", apply);
})();
