// Before the first paint: the theme that was chosen, if one was. Everything else follows the system.
try {
  const chosen = localStorage.getItem("gesso.theme");
  if (chosen) document.documentElement.dataset.theme = chosen;
} catch {
  // storage is forbidden here: then the system's theme it is
}
