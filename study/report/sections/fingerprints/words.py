"""What the words of the page mean."""

from markupsafe import Markup

from prnu.experiment import PCE_THRESHOLD
from study.report.parts import Section, paragraph

FINGERPRINT = Markup("""No two pixels of a sensor are equally sensitive. This fixed pattern (photo-response
non-uniformity, PRNU) is in every photograph a camera takes, and an average over the noise of many photographs shows it:
the camera’s <b>fingerprint</b>. A <b>pipeline</b> turns the sensor’s RAW values into the photograph; here the same RAW
images are developed by several.""")
PCE = Markup("""Whether a photograph carries a fingerprint is measured by its <b>PCE</b>, the peak-to-correlation
energy: how far the correlation of the two stands out where they are aligned, compared with all other alignments.
Without a match it stays around 1; above <b>{:g}</b>, the usual threshold, a match is declared, which a photograph of
another camera should reach about twice in 100,000 cases (Goljan, Fridrich & Filler, 2009). The <b>AUC</b> is how often
a matching pair has the larger PCE of a matching and a non-matching one: 1 is perfect, 0.5 a guess. Here a pixel counts
by the inverse variance of its noise, so that smooth places say more; in the usual PCE all count alike.""")
LAMBDA = Markup("""<b>λ</b> weighs how true a picture must remain while its pipeline is trained jointly with a forensic
network; the smaller, the more freedom to leave traces. The <b>channel</b> stands for publishing a photograph: it is
made smaller and compressed. Numbers in brackets are 95 % intervals, those behind a PCE its quartiles.""")


def section(content: object) -> Section:
    return Section("Words", [paragraph(text, "plain") for text in (FINGERPRINT, PCE.format(PCE_THRESHOLD), LAMBDA)])
