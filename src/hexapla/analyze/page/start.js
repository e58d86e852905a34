// Without these scripts the page shows everything but the sentences: every figure of the heat maps, one below the other.

for (const element of document.querySelectorAll(".scripted")) element.hidden = false;
for (const element of document.querySelectorAll(".unscripted")) element.hidden = true;
for (const form of document.querySelectorAll("[data-controls=heat]")) setUpHeat(form);
setUpDownloads();
const showDirection = setUpSegments(document.querySelector("[data-controls=segments]"));
