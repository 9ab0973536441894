// Airflow keeps its theme in the local storage of its address, which is ours too; "system" means what the system says.
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
