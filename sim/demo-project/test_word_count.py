import unittest

from word_count import count_words


class CountWords(unittest.TestCase):
    def test_counts_words_between_spaces_and_line_ends(self):
        self.assertEqual(count_words("one two\nthree"), 3)

    def test_takes_a_hyphen_and_an_apostrophe_as_part_of_a_word(self):
        self.assertEqual(count_words("a well-known fact, isn't it?"), 5)

    def test_counts_no_punctuation(self):
        self.assertEqual(count_words("-- ... !"), 0)


if __name__ == "__main__":
    unittest.main()
