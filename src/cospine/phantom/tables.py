"""Numbers of the template neck and head that the digital participant is drawn from.

Canonical space is the world of MNI152NLin2009aSym above and of PAM50 below the foramen magnum (RAS mm); both share it.
Lengths are mm. Sources give averages of adults; where they differ, a value between them was taken.
"""

import numpy as np

# Isocentre of the scanner: this canonical point is A = (0, 0, 0) before the individual's own pose.
ISOCENTRE = (0.0, -20.0, -57.0)
# Where the cord is taken to begin: upper edge of C1, 2.5 mm under the plane basion-opisthion of the MNI152 head
# (cord top of PAM50).
FORAMEN_MAGNUM_Z = -66.8
# Occipital condyles: front third of the foramen, 15 mm before the cord (Naderi et al., Clin Neurol Neurosurg 2005).
HEAD_PIVOT = (0.0, -30.0, -64.0)

# Upper edges of vertebra C1 .. T4 along the cord. Heights C2-C7 with half of both discs 16-19 mm, thoracic growing
# from 20 mm (Gilad & Nissan, Spine 1986; Panjabi et al., Spine 1991); absolute places measured on the discs of
# PAM50.
VERTEBRA_TOP_Z = (-69.5, -92.3, -107.8, -126.3, -144.8, -161.3, -176.8, -193.8, -215.3, -238.3, -262.0, -286.0)
# Upper edges of spinal segments C1 .. T2: rootlet positions of Cadotte et al., AJNR 2015, as in PAM50's spinal
# levels.
SPINAL_TOP_Z = (-69.5, -77.1, -87.6, -104.1, -120.6, -137.1, -152.6, -168.1, -184.1, -201.1, -219.6)

# Cross-section of the cord by height: z, centre y, transverse and antero-posterior diameter. Transverse 11-13.3 mm
# with the cervical enlargement at C4-C6, antero-posterior 7-8.5 mm (Ko et al., J Korean Med Sci 2004; Kameyama et
# al., Spine 1996; Frostell et al., Front Neurol 2016, whose review averages 12.4 x 7.9 mm at C5); centre line and
# the upper three rows, where the closed medulla passes into the cord, measured on MNI152 and PAM50.
CORD = np.array(
    [
        (-56.0, -41.4, 15.2, 12.6),
        (-62.0, -43.4, 13.4, 11.6),
        (-66.8, -45.0, 12.2, 10.2),
        (-72.0, -45.7, 11.3, 8.7),
        (-80.0, -46.0, 11.1, 8.0),
        (-92.0, -46.1, 11.6, 7.9),
        (-107.0, -46.0, 11.9, 7.8),
        (-126.0, -45.9, 12.5, 7.8),
        (-145.0, -45.9, 12.7, 7.7),
        (-158.0, -45.9, 12.3, 7.5),
        (-172.0, -45.8, 11.5, 7.2),
        (-188.0, -45.8, 10.4, 6.9),
        (-205.0, -45.9, 9.6, 6.6),
        (-240.0, -45.9, 9.2, 6.4),
        (-300.0, -45.9, 9.0, 6.3),
    ]
)
# Share of the cord's cross-section that is grey: C2 0.16, C5 0.21, C7 0.21, T2 0.14 (Frostell 2016; Kameyama 1996
# for the shape).
GREY_SHARE = np.array(
    [(-66.0, 0.15), (-92.0, 0.16), (-126.0, 0.19), (-150.0, 0.21), (-180.0, 0.20), (-205.0, 0.15), (-300.0, 0.14)]
)
# Dural sac: z, offset of its centre to the cord's in y, transverse and antero-posterior diameter. 22 x 18 mm at C1,
# 17.5 x 13 at C7, as the CSF of PAM50.
DURA = np.array(
    [
        (-62.0, 1.0, 27.0, 23.0),
        (-69.0, 1.0, 25.0, 20.5),
        (-75.0, 0.8, 22.5, 18.3),
        (-92.0, 0.5, 22.0, 16.4),
        (-107.0, 0.3, 20.4, 14.2),
        (-126.0, 0.1, 19.3, 13.2),
        (-145.0, 0.0, 18.6, 12.6),
        (-161.0, 0.0, 17.8, 12.4),
        (-177.0, 0.1, 17.3, 12.8),
        (-200.0, 0.3, 16.0, 13.2),
        (-300.0, 0.2, 14.0, 12.8),
    ]
)
# Vertebral bodies: z, transverse width, depth (Panjabi 1991: C3 15.8 x 15.6 .. C7 20.1 x 17.6 at the lower end-
# plates; T2 27 x 19).
BODY = np.array(
    [
        (-92.0, 17.0, 14.5),
        (-115.0, 17.5, 15.5),
        (-150.0, 19.5, 16.5),
        (-185.0, 23.5, 17.5),
        (-230.0, 27.0, 19.5),
        (-300.0, 28.0, 22.0),
    ]
)
# Share of a vertebra's pitch that is disc (Gilad & Nissan 1986: disc 5-6 mm of 17-20), from the C2-C3 disc down.
DISC_SHARE = 0.27

# Outline of the neck: z, centre y, half-width, half-depth, and of the trunk that takes over below (Vasavada et al.,
# J Biomech 2008: circumference 35-39 cm; Gordon et al., ANSUR 1989 for shoulders and chest).
NECK = np.array(
    [
        (-60.0, -40.0, 66.0, 62.0),
        (-95.0, -36.0, 62.0, 60.0),
        (-125.0, -36.0, 58.0, 57.0),
        (-155.0, -40.0, 57.0, 57.0),
        (-175.0, -44.0, 60.0, 59.0),
        (-190.0, -46.0, 75.0, 63.0),
        (-205.0, -46.0, 112.0, 70.0),
        (-220.0, -44.0, 155.0, 80.0),
        (-245.0, -38.0, 180.0, 95.0),
        (-300.0, -30.0, 190.0, 110.0),
    ]
)
# Airway in the middle: z, centre y, half-width, half-depth: oropharynx, hypopharynx, larynx (narrow at the glottis,
# C5), trachea (Schwab et al., Am Rev Respir Dis 1993; trachea 18 x 17 mm, Breatnach et al., AJR 1984).
AIRWAY = np.array(
    [
        (-52.0, 0.0, 9.0, 7.0),
        (-70.0, -7.0, 12.0, 6.0),
        (-88.0, -9.0, 13.0, 5.5),
        (-105.0, -8.0, 13.0, 6.0),
        (-125.0, -6.0, 12.0, 6.5),
        (-142.0, -2.0, 7.0, 8.5),
        (-150.0, -1.0, 4.5, 9.0),
        (-160.0, -2.0, 8.0, 8.5),
        (-180.0, -5.0, 9.0, 8.5),
        (-230.0, -16.0, 9.5, 9.0),
        (-300.0, -20.0, 9.5, 9.0),
    ]
)
